"""The method of a job: what a client may ask of each, and what the job shows of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from server.fine_tuning.asked.hyperparameters import Auto, TunedHyperparameters
from server.fine_tuning.asked.shown import TunedJobHyperparameters
from server.vocabulary import MethodType


class _Request(BaseModel):
    """What clients send: no field but these, and no value taken for one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


Beta = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]  # OpenAI's bounds
Weight = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class DpoHyperparameters(TunedHyperparameters):
    """OpenAI: FineTuneDPOHyperparameters, and ours."""

    beta: Beta | Auto = "auto"


class OrpoHyperparameters(TunedHyperparameters):
    beta: Beta | Auto = "auto"  # the weight of the choice beside the answer


class KtoHyperparameters(TunedHyperparameters):
    beta: Beta | Auto = "auto"
    desirable_weight: Weight | Auto = "auto"
    undesirable_weight: Weight | Auto = "auto"


class SimpoHyperparameters(TunedHyperparameters):
    beta: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | Auto = "auto"
    gamma: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | Auto = "auto"


class SupervisedRequest(_Request):
    """OpenAI: FineTuneSupervisedMethod."""

    hyperparameters: TunedHyperparameters = Field(default_factory=TunedHyperparameters)


class DpoRequest(_Request):
    """OpenAI: FineTuneDPOMethod."""

    hyperparameters: DpoHyperparameters = Field(default_factory=DpoHyperparameters)


class OrpoRequest(_Request):
    hyperparameters: OrpoHyperparameters = Field(default_factory=OrpoHyperparameters)


class KtoRequest(_Request):
    hyperparameters: KtoHyperparameters = Field(default_factory=KtoHyperparameters)


class SimpoRequest(_Request):
    hyperparameters: SimpoHyperparameters = Field(default_factory=SimpoHyperparameters)


class ContinuedPretrainingRequest(_Request):
    hyperparameters: TunedHyperparameters = Field(default_factory=TunedHyperparameters)


class MethodRequest(_Request):
    """OpenAI: FineTuneMethod, and ours. Only the part that `type` names is looked at."""

    type: Literal["supervised", "dpo", "reinforcement", "orpo", "kto", "simpo", "continued_pretraining"]
    supervised: SupervisedRequest | None = None
    dpo: DpoRequest | None = None
    reinforcement: Any = None
    orpo: OrpoRequest | None = None
    kto: KtoRequest | None = None
    simpo: SimpoRequest | None = None
    continued_pretraining: ContinuedPretrainingRequest | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_other_parts(cls, sent: Any) -> Any:
        """OpenAI's own client sends parts that `type` does not name."""
        if not isinstance(sent, dict):
            return sent
        return {
            key: value
            for key, value in sent.items()
            if key in ("type", sent.get("type")) or key not in cls.model_fields
        }

    def hyperparameters(self) -> TunedHyperparameters | None:
        """Those of the part that `type` names; None if there is no such part."""
        part = getattr(self, self.type)
        return None if part is None else part.hyperparameters


_HYPERPARAMETERS: dict[str, type[TunedHyperparameters]] = {
    MethodType.SUPERVISED: TunedHyperparameters,
    MethodType.DPO: DpoHyperparameters,
    MethodType.ORPO: OrpoHyperparameters,
    MethodType.KTO: KtoHyperparameters,
    MethodType.SIMPO: SimpoHyperparameters,
    MethodType.CONTINUED_PRETRAINING: TunedHyperparameters,
}


def hyperparameters_of(method: str) -> type[TunedHyperparameters]:
    """What one may ask of a method."""
    return _HYPERPARAMETERS[method]


class PreferenceJobHyperparameters(TunedJobHyperparameters):
    beta: float | Auto = "auto"


class KtoJobHyperparameters(PreferenceJobHyperparameters):
    desirable_weight: float | Auto = "auto"
    undesirable_weight: float | Auto = "auto"


class SimpoJobHyperparameters(PreferenceJobHyperparameters):
    gamma: float | Auto = "auto"


class SupervisedMethod(BaseModel):
    hyperparameters: TunedJobHyperparameters


class PreferenceMethod(BaseModel):
    hyperparameters: PreferenceJobHyperparameters


class KtoMethod(BaseModel):
    hyperparameters: KtoJobHyperparameters


class SimpoMethod(BaseModel):
    hyperparameters: SimpoJobHyperparameters


class ContinuedPretrainingMethod(BaseModel):
    hyperparameters: TunedJobHyperparameters


def _is_absent(value: object) -> bool:
    return value is None


class Method(BaseModel):
    """OpenAI: FineTuneMethod, and ours; the part of the method alone is there."""

    type: Literal["supervised", "dpo", "orpo", "kto", "simpo", "continued_pretraining"]
    supervised: SupervisedMethod | None = Field(default=None, exclude_if=_is_absent)
    dpo: PreferenceMethod | None = Field(default=None, exclude_if=_is_absent)
    orpo: PreferenceMethod | None = Field(default=None, exclude_if=_is_absent)
    kto: KtoMethod | None = Field(default=None, exclude_if=_is_absent)
    simpo: SimpoMethod | None = Field(default=None, exclude_if=_is_absent)
    continued_pretraining: ContinuedPretrainingMethod | None = Field(default=None, exclude_if=_is_absent)

    @classmethod
    def of(cls, method: str, hyperparameters: dict[str, Any]) -> Self:
        """The method of a job whose hyperparameters, as asked for or resolved, these are."""
        return cls.model_validate({"type": method, method: {"hyperparameters": hyperparameters}})
