"""What the trainer says of the data files before any training (`report.json`)."""

from trainer.contract.events import FailureCode
from trainer.contract.formats.names import FileFormat
from trainer.contract.spec import Frozen


class FileReport(Frozen):
    """One file, rendered and tokenised with the base model's own template. Line numbers count from 1."""

    format: FileFormat  # of the file as it was uploaded
    n_examples: int  # that will be trained on or evaluated
    n_tokens: int  # of those examples, after cutting
    n_trained_tokens: int  # inside the loss mask
    longest_tokens: int  # before cutting
    truncated_lines: tuple[int, ...]  # cut at the context length, some of the answer is left
    dropped_lines: tuple[int, ...]  # nothing to train on is left (answer beyond the context, or weight 0 throughout)


class CheckFailure(Frozen):
    code: FailureCode
    message: str  # safe to show: no training text, no path
    param: str | None


class CheckReport(Frozen):
    """Either `failure` is set, or `training` is."""

    training: FileReport | None = None
    validation: FileReport | None = None
    base_parameters: int | None = None  # number of parameters of the base model
    failure: CheckFailure | None = None
