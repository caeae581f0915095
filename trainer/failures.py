"""Exceptions → failure codes and words a client may see; in one place. Nothing here imports torch."""

import errno
import sys
from dataclasses import dataclass

from trainer.contract.events import FailureCode
from trainer.contract.invalid import ExampleInvalid


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
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # torch has no class of its own for main memory: c10's CPU allocator raises a RuntimeError with these words.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)
