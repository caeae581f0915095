"""Exceptions → failure codes and words a client may see; in one place. Nothing here imports torch."""

import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.contract.events import FailureCode
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.reproduction import Reproduction

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# RuntimeErrors that have no class of their own: c10's CPU allocator; CUDA itself, where it starts beside an engine that
# has taken the rest; its libraries, for their workspaces
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class TrainerError(Exception):
    """A failure the trainer knows; its text is safe to show."""

    code = FailureCode.INTERNAL_ERROR

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BaseModelUnavailable(TrainerError):
    """The base model, its tokenizer or its chat template cannot be used."""

    code = FailureCode.BASE_MODEL_UNAVAILABLE


class FileUnusable(TrainerError):
    """A data file is well formed, but cannot be trained on with this base model."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message, param=param)
        is_validation = param == "validation_file"
        self.code = FailureCode.INVALID_VALIDATION_FILE if is_validation else FailureCode.INVALID_TRAINING_FILE


class AdapterUnfit(TrainerError):
    """An adapter made elsewhere is not this base model's, or does nothing to it."""


class LossNotFinite(TrainerError):
    """Training diverged; nothing is published."""

    code = FailureCode.LOSS_NOT_FINITE

    def __init__(self, what: str, step: int) -> None:
        super().__init__(
            f"The {what} is not a finite number at step {step}: training diverged. "
            "Try a smaller learning_rate_multiplier or a larger batch_size.",
            param="hyperparameters",
        )


class NotReproduced(TrainerError):
    """What would be published does not do what was trained; nothing is."""

    code = FailureCode.NOT_REPRODUCED

    def __init__(self, tried: Sequence[Reproduction], *, max_rank: int) -> None:
        nearest = min(tried, key=lambda of: of.relative_error)
        super().__init__(
            f"The trained adapter ({nearest.variant}) cannot be published: reloaded as a plain LoRA of rank "
            f"{nearest.rank}, its logits are {nearest.relative_error:.2%} of the adapter's effect away from the "
            f"trained model's, and {nearest.bound:.2%} is allowed (the engine serves ranks up to {max_rank}). "
            "Use the adapter type 'lora', or ask the operator for a larger rank.",
            param="adapter",
        )


@dataclass(frozen=True)
class Failure:
    code: FailureCode
    message: str  # no training text, no path
    param: str | None = None


def describe(error: BaseException) -> Failure:
    """Name what went wrong in words that are safe to show."""
    match error:
        case TrainerError():
            return Failure(error.code, str(error), error.param)
        case ExampleInvalid():
            return Failure(FailureCode.INVALID_TRAINING_FILE, error.job_message(), "training_file")
        case _ if is_disk_full(error):
            return Failure(FailureCode.DISK_FULL, "The disk is full. Free some space and create the job again.")
        case _ if is_out_of_memory(error):
            return Failure(
                FailureCode.OUT_OF_MEMORY,
                "The trainer ran out of memory. Try a smaller batch_size or shorter examples.",
            )
        case _:
            kind = type(error).__name__
            return Failure(
                FailureCode.INTERNAL_ERROR, f"The trainer failed ({kind}). The operator finds why in its log."
            )


def is_disk_full(error: BaseException) -> bool:
    """Also where safetensors, which has an exception of its own, could not write on."""
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    return type(error).__name__ == "SafetensorError" and any(f"(os error {code})" in str(error) for code in _DISK_FULL)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
