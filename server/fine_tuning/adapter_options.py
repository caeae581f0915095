"""What a client may ask of the adapter that a job trains, and what "auto" comes to. docs/adapters.md is the table."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.contract.spec import ALL_LINEAR, AdapterVariant

Auto = Literal["auto"]

VARIANTS: tuple[AdapterVariant, ...] = ("lora", "dora", "pissa")
FULL = "full"  # no adapter: all of the model's weights are trained, and the result is a model of its own
AUTO_RANK = 16
_ALPHA_PER_RANK = 2
_MAX_RANK = 512  # of any engine of ours
_MAX_ALPHA = 131_072  # of that rank; what is too much for a smaller one, the train-serve contract says

ModuleName = Annotated[str, Field(min_length=1, max_length=128)]


class AdapterOptions(BaseModel):
    """`adapter` among the hyperparameters of a method. What an engine can serve is not looked at here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # any word: one that is not offered is refused with what would work instead
    type: Annotated[str, Field(max_length=64, json_schema_extra={"enum": [*VARIANTS, FULL]})] = "lora"
    rank: Annotated[int, Field(ge=1, le=_MAX_RANK)] | Auto = "auto"
    alpha: Annotated[int, Field(ge=1, le=_MAX_ALPHA)] | Auto = "auto"
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | Auto = "auto"
    target_modules: Literal["all-linear", "auto"] | Annotated[list[ModuleName], Field(min_length=1, max_length=64)] = (
        "auto"
    )
    use_rslora: bool = False


def resolve_adapter(asked: AdapterOptions, max_rank: int) -> dict[str, Any]:
    """Replace every "auto"; the result has the names of `ResolvedHyperparameters`.

    `max_rank` is the largest that the engine serves.
    """
    if asked.type == FULL:
        return {"trains_all": True}
    rank = _auto_rank(asked.type, max_rank) if asked.rank == "auto" else asked.rank
    targets = asked.target_modules
    return {
        "lora_variant": asked.type,
        "lora_rank": rank,
        "lora_alpha": _ALPHA_PER_RANK * rank if asked.alpha == "auto" else asked.alpha,
        "lora_dropout": 0.0 if asked.dropout == "auto" else asked.dropout,
        "lora_rslora": asked.use_rslora,
        "lora_target_modules": tuple(dict.fromkeys(targets)) if isinstance(targets, list) else ALL_LINEAR,
    }


def served_rank(variant: str, rank: int) -> int:
    """The smallest rank of the plain LoRA that an adapter of this kind and rank is published as."""
    return 2 * rank if variant == "pissa" else rank


def may_be_quantised(variant: str) -> bool:
    """Whether the base may be held in fewer bits while such an adapter is trained.

    PiSSA divides its weights; where all of them are trained there is no base that stays as it is.
    """
    return variant not in ("pissa", FULL)


def _auto_rank(variant: str, max_rank: int) -> int:
    return max(1, min(AUTO_RANK, max_rank // served_rank(variant, 1)))


def asked_adapter(requested: Mapping[str, Any]) -> AdapterOptions:
    """Of a job's requested hyperparameters; one that asks for nothing gets a LoRA by our rules."""
    return AdapterOptions.model_validate(requested.get("adapter") or {})
