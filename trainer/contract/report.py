"""What the trainer says of the data files before any training (`report.json`)."""

from enum import StrEnum
from typing import Literal, get_args

from pydantic import Field

from trainer.contract.events import FailureCode
from trainer.contract.formats.names import FileFormat
from trainer.contract.shape import ModelShape
from trainer.contract.spec import Frozen

MAX_LINES_NAMED = 20  # of a longer list of lines the rest is counted
MAX_CLASSES_NAMED = 20

MixedIn = Literal["mix_in[0]", "mix_in[1]", "mix_in[2]", "mix_in[3]", "mix_in[4]"]
FileKind = Literal["training", "validation"] | MixedIn
MIXED_IN: tuple[MixedIn, ...] = get_args(MixedIn)


def param_of(kind: FileKind) -> str:
    """The field of a request that names the file."""
    return f"data.{kind}.file" if kind in MIXED_IN else f"{kind}_file"


class Severity(StrEnum):
    """What a finding does to its job."""

    INFO = "info"  # in the report only
    WARNING = "warning"  # told in an event
    ERROR = "error"  # fails the job


class Task(StrEnum):
    """What a file seems to teach, guessed from its answers."""

    CLASSIFICATION = "classification"
    EXTRACTION = "structured extraction"
    CODE = "code generation"
    OTHER = "style or other"


class Finding(Frozen):
    """One thing that a check found in one file. Holds numbers and line numbers, never text of the file."""

    check: str  # its name in docs/data-gate.md
    severity: Severity
    file: FileKind
    message: str  # what was found and what to do
    lines: tuple[int, ...] = Field(default=(), max_length=MAX_LINES_NAMED)  # the first ones, from 1, ascending
    n_lines: int = 0  # all of them


class Histogram(Frozen):
    """Bin i counts the values from `edges[i]` up to, and without, `edges[i + 1]`."""

    edges: tuple[int, ...]  # one more than there are bins
    counts: tuple[int, ...]


class OutputClass(Frozen):
    """Examples with the same short answer, which is not told: its first line says where to look."""

    first_line: int
    n_examples: int


class FileFigures(Frozen):
    """What the report draws."""

    task: Task
    tokens: Histogram  # of whole examples, before cutting
    characters: Histogram  # of all messages of an example
    answer_tokens: Histogram  # inside the loss mask, before cutting
    classes: tuple[OutputClass, ...] = Field(max_length=MAX_CLASSES_NAMED)  # largest first; of a classification only
    n_classes: int
    n_redacted: int = 0  # examples that were changed by the policy for personal data


class FileReport(Frozen):
    """One file, rendered and tokenised with the base model's own template. Line numbers count from 1."""

    format: FileFormat  # of the file as it was uploaded
    n_examples: int  # that will be trained on or evaluated: with what is mixed in, without what is held out
    n_tokens: int  # of those examples, after cutting
    n_trained_tokens: int  # inside the loss mask
    n_desirable: int = 0  # of those examples, whose answer is one to give; all but in KTO's format
    longest_tokens: int  # before cutting; of a preference, whose tokens are those of both answers, the longer sequence
    truncated_lines: tuple[int, ...]  # of those: cut at the context length, some of the answer is left
    dropped_lines: tuple[int, ...]  # nothing to train on is left (answer beyond the context, or weight 0 throughout)
    figures: FileFigures | None = None  # of the whole file
    n_tokenised: int = 0  # examples that were rendered and tokenised for this report, and not for an earlier one


class MixedInReport(Frozen):
    file_id: str
    n_usable: int  # examples to draw from: what is like a validation example is not among them
    n_examples: int  # that will be trained on
    is_repeated: bool  # some are trained on more than once, because there are too few


class SelectionReport(Frozen):
    """What was chosen of the files."""

    seed: int
    n_usable: int  # examples of the training file that could be trained on
    pilot: int | None  # that were sampled of them
    holdout: float | None  # the share that was asked for
    n_held_out: int
    n_groups_held_out: int  # of examples that are the same or nearly the same
    n_own: int  # of the training file's own that will be trained on
    mixed_in: tuple[MixedInReport, ...]


class CheckFailure(Frozen):
    code: FailureCode
    message: str  # safe to show: no training text, no path
    param: str | None


class CheckReport(Frozen):
    """Either `failure` is set, or `training` is. `validation` is of the validation file, or of what is held out."""

    training: FileReport | None = None
    validation: FileReport | None = None
    selection: SelectionReport | None = None
    selection_sha256: str | None = None  # by which a choice that is made again is known to be the same
    findings: tuple[Finding, ...] = ()  # most severe first
    base_parameters: int | None = None  # number of parameters of the base model
    base_shape: ModelShape | None = None  # None: of a family whose layers are not known here
    base_layers: dict[str, int] | None = None  # its linear layers by name: the smaller side of the smallest
    failure: CheckFailure | None = None
