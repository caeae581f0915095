"""Where a job is, as one line of text. Pure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.db.tables import JobEventRow, JobRow
from server.vocabulary import EventType, JobStatus

_BAR = 12  # characters; with everything else a line has 77 for 1000 steps, and a terminal 80
_NOT_TODAY_S = 12 * 3600


@dataclass(frozen=True)
class Progress:
    status: JobStatus = JobStatus.VALIDATING_FILES
    step: int = 0
    total_steps: int | None = None
    train_loss: float | None = None
    valid_loss: float | None = None  # as last measured, on a part or on all of the validation file
    estimated_finish: int | None = None  # unix seconds


def advance(progress: Progress, job: JobRow, events: Sequence[JobEventRow]) -> Progress:
    """Take in the job as it is now, and its events since the last look."""
    for event in events:
        if event.type is EventType.METRICS:
            data = event.data or {}
            progress = replace(
                progress,
                train_loss=data.get("train_loss", progress.train_loss),
                valid_loss=data.get("full_valid_loss", data.get("valid_loss", progress.valid_loss)),
            )
    return replace(
        progress,
        status=job.status,
        step=job.last_step,
        total_steps=job.total_steps,
        estimated_finish=job.estimated_finish,
    )


def render(progress: Progress, *, now: float) -> str:
    """One line; the time is the local one."""
    is_running = progress.status is JobStatus.RUNNING
    parts = [] if is_running else [progress.status.value]
    if progress.total_steps:
        parts.append(f"{_bar(progress.step, progress.total_steps)} {progress.step}/{progress.total_steps}")
    if progress.train_loss is not None:
        parts.append(f"train loss {progress.train_loss:.4f}")
    if progress.valid_loss is not None:
        parts.append(f"valid loss {progress.valid_loss:.4f}")
    if is_running and progress.estimated_finish is not None:
        parts.append(f"ends {_clock(progress.estimated_finish, now)}")
    return "  ".join(parts)


def outcome(job: JobRow) -> str:
    """The last word about a job that has ended."""
    match job.status:
        case JobStatus.SUCCEEDED:
            return f"{job.id} succeeded: {job.fine_tuned_model}"
        case JobStatus.FAILED:
            return f"{job.id} failed: {job.error_code}: {job.error_message}"
    return f"{job.id} is {job.status}"


def _bar(step: int, total_steps: int) -> str:
    filled = _BAR * min(step, total_steps) // total_steps
    return f"[{'#' * filled}{'.' * (_BAR - filled)}]"


def _clock(at: int, now: float) -> str:
    pattern = "%H:%M:%S" if abs(at - now) < _NOT_TODAY_S else "%Y-%m-%d %H:%M"
    return time.strftime(pattern, time.localtime(at))
