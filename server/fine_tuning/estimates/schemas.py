"""An estimate on the wire, and as a job's report keeps it."""

from typing import Literal

from pydantic import BaseModel

from server.fine_tuning.asked.methods import Method
from trainer.contract.spec import Quantization


class EstimatedFile(BaseModel):
    """Of a sample: examples and tokens are scaled to the whole file, the other figures are the sample's."""

    examples: int
    tokens: int  # after cutting
    trained_tokens: int  # inside the loss mask
    longest_tokens: int  # before cutting
    truncated_examples: int
    dropped_examples: int
    rows_looked_at: int | None  # None: all


class PlanOfRun(BaseModel):
    """How the run keeps within its memory. `batch_size` examples make a step, whatever it is."""

    micro_batch_tokens: int
    micro_batches_per_step: int  # about: lengths differ
    gradient_checkpointing: bool
    quantization: Quantization | None


class EstimatedMemory(BaseModel):
    """Bytes. `peak_bytes` is the sum of the parts; `needed_bytes` has to be free before the job is let in."""

    device: Literal["cpu", "cuda"]
    weights_bytes: int
    adapter_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    head_bytes: int
    reserve_bytes: int
    peak_bytes: int
    needed_bytes: int
    available_bytes: int  # for all trainers together


class EstimatedTime(BaseModel):
    """From the start of the run; waiting for a turn is not in it."""

    seconds: float
    tokens_per_second: float
    speed: Literal["measured", "guessed"]  # in earlier runs on this base here, or before any
    runs: int  # that it was measured in


class HostedCost(BaseModel):
    """What the operator's list says a hosted service would ask for as many trained tokens."""

    provider: str
    model: str
    amount: float
    currency: str
    as_of: str  # a day


class EstimatedCost(BaseModel):
    amount: float | None  # at the operator's price; None: none is set
    currency: str
    hosted: list[HostedCost]


class Estimate(BaseModel):
    """What a job would come to. Not OpenAI's."""

    object: Literal["fine_tuning.estimate"] = "fine_tuning.estimate"
    sampled: bool  # whether only a part of the training file was looked at
    training: EstimatedFile
    validation: EstimatedFile | None
    method: Method  # every "auto" resolved
    total_steps: int
    trained_tokens: int  # in all epochs
    base_parameters: int | None
    trainable_parameters: int | None  # None: of a base model whose layers are not known here
    adapter_bytes: int | None
    fits: bool  # False: the job would be refused, for the reason in `advice`
    advice: str | None
    plan: PlanOfRun
    memory: EstimatedMemory | None
    time: EstimatedTime
    cost: EstimatedCost
