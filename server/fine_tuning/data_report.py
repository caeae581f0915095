"""What is told of a job's files: the trainer's findings and figures, as they are stored and served."""

from typing import Self

from pydantic import BaseModel

from server.fine_tuning.lifecycle import Fail
from trainer.contract.formats.names import FileFormat
from trainer.contract.report import (
    MIXED_IN,
    CheckReport,
    FileFigures,
    FileKind,
    FileReport,
    Finding,
    SelectionReport,
    Severity,
    param_of,
)
from trainer.contract.spec import PiiPolicy


class FileSummary(BaseModel):
    """One file in numbers."""

    format: FileFormat  # as it was uploaded
    n_examples: int  # that are trained on, or evaluated
    n_left_out: int
    n_truncated: int
    n_tokens: int  # after cutting
    n_trained_tokens: int  # inside the loss mask
    longest_tokens: int  # before cutting
    figures: FileFigures | None

    @classmethod
    def from_report(cls, report: FileReport) -> Self:
        return cls(
            format=report.format,
            n_examples=report.n_examples,
            n_left_out=len(report.dropped_lines),
            n_truncated=len(report.truncated_lines),
            n_tokens=report.n_tokens,
            n_trained_tokens=report.n_trained_tokens,
            longest_tokens=report.longest_tokens,
            figures=report.figures,
        )


class DataReport(BaseModel):
    """What is trained on and validated with; of a file that could not be read there is the finding that says why."""

    pii: PiiPolicy
    training: FileSummary | None
    validation: FileSummary | None
    selection: SelectionReport | None = None  # what was chosen of the files; None: all of them
    findings: list[Finding]  # most severe first

    @classmethod
    def from_report(cls, report: CheckReport, pii: PiiPolicy) -> Self:
        return cls(
            pii=pii,
            training=None if report.training is None else FileSummary.from_report(report.training),
            validation=None if report.validation is None else FileSummary.from_report(report.validation),
            selection=report.selection,
            findings=list(report.findings),
        )

    @classmethod
    def of_failure(cls, failure: Fail, pii: PiiPolicy) -> Self | None:
        """For files that cannot be used at all; None if the files are not what the job fails for."""
        kinds: tuple[FileKind, ...] = ("training", "validation", *MIXED_IN)
        kind = next((kind for kind in kinds if param_of(kind) == failure.param), None)
        if failure.param == "data.holdout":
            kind = "training"
        if kind is None:
            return None
        finding = Finding(check="file", severity=Severity.ERROR, file=kind, message=failure.message)
        return cls(pii=pii, training=None, validation=None, findings=[finding])
