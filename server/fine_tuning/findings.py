"""What the trainer found in a job's files → what becomes of the job, and what its events say (pure)."""

from collections.abc import Sequence

from server.fine_tuning.lifecycle import Fail, NewEvent
from server.vocabulary import EventLevel, JobErrorCode
from trainer.contract.report import Finding, Severity

MAX_WARNINGS = 12  # events of one job; the last of them counts the rest
_TOO_FEW = "too_few_examples"


def failure_of(findings: Sequence[Finding]) -> Fail | None:
    """Why a job cannot go on; None if no finding is an error. The first error is told, others are counted."""
    errors = [finding for finding in findings if finding.severity == Severity.ERROR]
    if not errors:
        return None
    first, *others = errors
    code = JobErrorCode.INVALID_N_EXAMPLES if first.check == _TOO_FEW else JobErrorCode(f"invalid_{first.file}_file")
    message = _told(first)
    if others:
        message += f" The job's report names {len(others)} more reason(s)."
    return Fail(code, message, f"{first.file}_file")


def warnings(findings: Sequence[Finding]) -> list[NewEvent]:
    """The events of the findings that warn, in their order; the last one counts those that are not told."""
    found = [finding for finding in findings if finding.severity == Severity.WARNING]
    told = found if len(found) <= MAX_WARNINGS else found[: MAX_WARNINGS - 1]
    messages = [_told(finding) for finding in told]
    if len(told) < len(found):
        messages.append(f"{len(found) - len(told)} more finding(s) about the files are in the job's report.")
    return [NewEvent(message, EventLevel.WARN) for message in messages]


def _told(finding: Finding) -> str:
    if not finding.lines:
        return finding.message
    named = ", ".join(str(line) for line in finding.lines)
    rest = finding.n_lines - len(finding.lines)
    return f"{finding.message} See lines {named}" + (f" and {rest} more." if rest > 0 else ".")
