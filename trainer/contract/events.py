"""What a run reports, one JSON object a line in `events.jsonl`.

`seq` is dense from 0 within an attempt. Exactly one terminal event (`Succeeded`, `Failed`,
`Interrupted`) ends the file; a process that ends without one has crashed. A torn last line
is not an event.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from trainer.contract.spec import Frozen


class FailureCode(StrEnum):
    OUT_OF_MEMORY = "out_of_memory"
    INVALID_TRAINING_FILE = "invalid_training_file"
    INVALID_VALIDATION_FILE = "invalid_validation_file"
    BASE_MODEL_UNAVAILABLE = "base_model_unavailable"
    LOSS_NOT_FINITE = "loss_not_finite"
    NOT_REPRODUCED = "not_reproduced"
    DISK_FULL = "disk_full"
    INTERNAL_ERROR = "internal_error"


class Event(Frozen):
    seq: int = Field(ge=0)
    at: float  # unix seconds


class Started(Event):
    """Data and model are loaded; the first step comes next."""

    type: Literal["started"] = "started"
    total_steps: int  # n_epochs * ceil(examples / batch_size)
    n_examples: int  # trained on in each epoch
    first_step: int  # 1, or the step after the checkpoint that was resumed


class Metrics(Frozen):
    """The loss is the method's: supervised, a mean over tokens in nats. Accuracies are shares in [0, 1]: supervised, of
    tokens predicted right; else, of choices that come out as they were made.

    Those of preferences are means over a step, under TRL's names. A reward is how much more likely an answer has become
    than the reference has it, or, without a reference, how likely it is.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    train_loss: float
    train_mean_token_accuracy: float
    valid_loss: float | None = None  # on a part of the validation file
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None  # on all of it; at the end of an epoch
    full_valid_mean_token_accuracy: float | None = None
    rewards_chosen: float | None = Field(default=None, alias="rewards/chosen")
    rewards_rejected: float | None = Field(default=None, alias="rewards/rejected")
    rewards_margins: float | None = Field(default=None, alias="rewards/margins")
    rewards_accuracies: float | None = Field(default=None, alias="rewards/accuracies")
    logps_chosen: float | None = Field(default=None, alias="logps/chosen")
    logps_rejected: float | None = Field(default=None, alias="logps/rejected")
    kl: float | None = None  # the estimated distance from the reference, in nats
    nll_loss: float | None = None  # the part of the loss that is learning the preferred answer
    valid_rewards_margins: float | None = Field(default=None, alias="valid_rewards/margins")
    full_valid_rewards_margins: float | None = Field(default=None, alias="full_valid_rewards/margins")


class Progress(Event):
    """One step is done. Each step of an attempt is reported once, in order."""

    type: Literal["progress"] = "progress"
    step: int = Field(ge=1)
    total_steps: int
    metrics: Metrics
    trained_tokens: int  # tokens processed since step 1, padding excluded
    learning_rate: float
    grad_norm: float
    seconds_per_step: float  # recent mean; for the estimated finish


class CheckpointSaved(Event):
    """A checkpoint directory is complete. `epoch` is None for one that only serves to resume."""

    type: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    epoch: int | None  # 1-based; the checkpoint at the end of that epoch
    directory: str  # relative to the run directory; holds the state to resume from and, in adapter/, any adapter
    metrics: Metrics
    is_best: bool = False  # its full validation loss is the lowest so far


class Note(Event):
    """Something the client should know; numbers and line numbers only, never training text."""

    type: Literal["note"] = "note"
    level: Literal["info", "warn"]
    message: str


class BestCheckpoint(Frozen):
    """The step with the lowest full validation loss; of equal ones the first."""

    step: int = Field(ge=1)
    full_valid_loss: float
    evaluations_since: int = Field(ge=0)  # of the whole validation file, without improvement


class Measured(Frozen):
    """What one attempt took. Tokens are counted without padding, but for those of a micro-batch."""

    device: Literal["cpu", "cuda"]
    peak_tensor_bytes: int  # of live tensors; on a GPU, as its allocator counts them. 0: not one step was done
    peak_rss_bytes: int  # main memory of the process
    largest_micro_batch_tokens: int
    n_steps: int  # of this attempt
    n_tokens: int  # trained on in those steps
    step_seconds: float  # in those steps: forward, backward and update
    step_cpu_seconds: float  # of all threads in those steps; on a busy machine they wait besides
    start_seconds: float  # from the process's start to the first step
    total_seconds: float  # from the process's start; validation and checkpoints are in it


class Succeeded(Event):
    type: Literal["succeeded"] = "succeeded"
    step: int  # the last one that was trained
    trained_tokens: int
    adapter: str  # directory of the adapter, or of the whole model, relative to the run directory
    best: BestCheckpoint | None = None  # whose adapter that is; None: the last step's
    stopped_early: bool = False
    measured: Measured | None = None


class Failed(Event):
    type: Literal["failed"] = "failed"
    code: FailureCode
    message: str  # safe to show: no training text, no path
    param: str | None = None  # "training_file" | "validation_file" | None


class Interrupted(Event):
    """The run was asked to stop and did, at the end of a step."""

    type: Literal["interrupted"] = "interrupted"
    step: int


TrainerEvent = Annotated[
    Started | Progress | CheckpointSaved | Note | Succeeded | Failed | Interrupted,
    Field(discriminator="type"),
]
Terminal = Succeeded | Failed | Interrupted

_ADAPTER: TypeAdapter[TrainerEvent] = TypeAdapter(TrainerEvent)


def parse_event(line: bytes) -> TrainerEvent:
    """Parse one whole line of `events.jsonl`.

    Raises:
        pydantic.ValidationError: the line is not an event of this version.
    """
    return _ADAPTER.validate_json(line)


def dump_event(event: TrainerEvent) -> bytes:
    """Give the line for `event`, with its newline."""
    return _ADAPTER.dump_json(event) + b"\n"
