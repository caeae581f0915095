"""Hyperparameters as a job shows them: as they were asked for until the files are validated, then as numbers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.fine_tuning.adapter_options import AdapterOptions
from server.fine_tuning.asked.hyperparameters import Auto
from trainer.contract.spec import Optimizer, Scheduler


class JobHyperparameters(BaseModel):
    """OpenAI: FineTuningJob.hyperparameters: "auto" until the files are validated."""

    n_epochs: int | Auto
    batch_size: int | Auto
    learning_rate_multiplier: float | Auto


_LEFT_OUT: Any = Field(default=None, exclude_if=lambda value: value is None)


class FullAdapter(BaseModel):
    """Of a job that trains all weights: there are no numbers of an adapter to show."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["full"]


class TunedJobHyperparameters(JobHyperparameters):
    """OpenAI's, and of ours those that were asked for or have come to something; the others are left out."""

    learning_rate: float | Auto | None = _LEFT_OUT
    warmup_ratio: float | Auto | None = _LEFT_OUT
    lr_scheduler: Literal[Scheduler, Auto] | None = _LEFT_OUT
    weight_decay: float | Auto | None = _LEFT_OUT
    max_grad_norm: float | Auto | None = _LEFT_OUT
    max_seq_length: int | Auto | None = _LEFT_OUT
    packing: bool | Auto | None = _LEFT_OUT
    validation_interval: int | Auto | None = _LEFT_OUT
    early_stopping_patience: int | Auto | None = _LEFT_OUT
    optimizer: Literal[Optimizer, Auto] | None = _LEFT_OUT
    quantization: Literal["none", "int8", "nf4", Auto] | None = _LEFT_OUT
    adapter: FullAdapter | AdapterOptions | None = _LEFT_OUT
