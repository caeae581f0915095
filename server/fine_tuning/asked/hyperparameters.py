"""Hyperparameters as a client may ask for them: types and hard bounds. docs/hyperparameters.md is their table."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.fine_tuning.adapter_options import AdapterOptions
from trainer.contract.spec import Optimizer, Scheduler

Auto = Literal["auto"]

LEAST_SEQUENCE_TOKENS = 16  # less holds no prompt and answer


class _Request(BaseModel):
    """What clients send: no field but these, and no value taken for one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Hyperparameters(_Request):
    """OpenAI: FineTuneSupervisedHyperparameters."""

    n_epochs: Annotated[int, Field(ge=1, le=50)] | Auto = "auto"
    batch_size: Annotated[int, Field(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Auto = "auto"


class TunedHyperparameters(Hyperparameters):
    """OpenAI's, and ours that every method has."""

    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | Auto = "auto"  # the peak itself
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] | Auto = "auto"  # of all steps
    lr_scheduler: Literal[Scheduler, Auto] = "auto"
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Auto = "auto"
    max_grad_norm: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | Auto = "auto"
    max_seq_length: Annotated[int, Field(ge=LEAST_SEQUENCE_TOKENS)] | Auto = "auto"  # tokens; longer ones are cut
    packing: bool | Auto = "auto"
    validation_interval: Annotated[int, Field(ge=1)] | Auto = "auto"  # steps
    # evaluations of the validation file without improvement, after which training ends; "auto": never
    early_stopping_patience: Annotated[int, Field(ge=1, le=50)] | Auto = "auto"
    optimizer: Literal[Optimizer, Auto] = "auto"
    quantization: Literal["none", "int8", "nf4", Auto] = "auto"  # of the frozen base
    adapter: AdapterOptions | None = None  # None: a LoRA by our rules

    def asked(self) -> dict[str, Any]:
        """OpenAI's three, and of ours those that the client sent."""
        return self.model_dump(include=set(Hyperparameters.model_fields)) | self.model_dump(exclude_unset=True)
