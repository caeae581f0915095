"""What the trainer found in a job's files → what becomes of the job, and what its events say (pure)."""

from collections.abc import Sequence

from server.fine_tuning.lifecycle import Fail, NewEvent
from server.vocabulary import EventLevel, JobErrorCode
from trainer.contract.report import MIXED_IN, Finding, Severity, param_of

MAX_WARNINGS = 12  # events of one job; the last of them counts the rest
_TOO_FEW = "too_few_examples"


def failure_of(findings: Sequence[Finding], mixed_in: Sequence[str] = ()) -> Fail | None:
    """Why a job cannot go on; None if no finding is an error. The first error is told, others are counted.

    `mixed_in` are the ids of the files that are mixed in.
    """
    errors = [finding for finding in findings if finding.severity == Severity.ERROR]
    if not errors:
        return None
    first, *others = errors
    is_validation = first.file == "validation"
    code = JobErrorCode.INVALID_VALIDATION_FILE if is_validation else JobErrorCode.INVALID_TRAINING_FILE
    if first.check == _TOO_FEW:
        code = JobErrorCode.INVALID_N_EXAMPLES
    message = _told(first, mixed_in)
    if others:
        message += f" The job's report names {len(others)} more reason(s)."
    return Fail(code, message, param_of(first.file))


def warnings(findings: Sequence[Finding], mixed_in: Sequence[str] = ()) -> list[NewEvent]:
    """The events of the findings that warn, in their order; the last one counts those that are not told."""
    found = [finding for finding in findings if finding.severity == Severity.WARNING]
    told = found if len(found) <= MAX_WARNINGS else found[: MAX_WARNINGS - 1]
    messages = [_told(finding, mixed_in) for finding in told]
    if len(told) < len(found):
        messages.append(f"{len(found) - len(told)} more finding(s) about the files are in the job's report.")
    return [NewEvent(message, EventLevel.WARN) for message in messages]


def named(message: str, param: str | None, mixed_in: Sequence[str]) -> str:
    """A message with the id of the file before it, if it is one of those that are mixed in."""
    ids = [file_id for kind, file_id in zip(MIXED_IN, mixed_in, strict=False) if param_of(kind) == param]
    return f"{ids[0]}: {message}" if ids else message


def _told(finding: Finding, mixed_in: Sequence[str]) -> str:
    message = named(finding.message, param_of(finding.file), mixed_in)
    if not finding.lines:
        return message
    lines = ", ".join(str(line) for line in finding.lines)
    rest = finding.n_lines - len(finding.lines)
    return f"{message} See lines {lines}" + (f" and {rest} more." if rest > 0 else ".")
