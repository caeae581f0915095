"""The life of a job, as pure functions: which status may follow which, what an event means, how a run ended.

validating_files ──▶ queued ──▶ running ──▶ succeeded
       │              │    ▲       │
       │              ▼    │       │
       │              paused ◀─────┤
       │                 │         │
       └─────────────────┴─────────┴──────▶ failed | cancelled
"""

from dataclasses import dataclass, field
from typing import Any

from server.launchers.launcher import Exited, Lost
from server.vocabulary import TERMINAL_STATUSES, EventLevel, EventType, JobErrorCode, JobStatus
from trainer.contract.events import (
    CheckpointSaved,
    Failed,
    FailureCode,
    Interrupted,
    Metrics,
    Note,
    Progress,
    Started,
    Succeeded,
    Terminal,
    TrainerEvent,
)

_ASKED_TO_STOP = 143  # 128 + SIGTERM: it was asked before it could report anything

_NEXT = {
    JobStatus.VALIDATING_FILES: {JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED},
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED},
    JobStatus.RUNNING: {JobStatus.SUCCEEDED, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED},
    JobStatus.PAUSED: {JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED},
}


def may_follow(current: JobStatus, following: JobStatus) -> bool:
    """Whether a job may go from one status to the other. A terminal status is never left."""
    return following in _NEXT.get(current, set())


def is_terminal(status: JobStatus) -> bool:
    return status in TERMINAL_STATUSES


@dataclass(frozen=True)
class NewEvent:
    """An event to show to the client."""

    message: str
    level: EventLevel = EventLevel.INFO
    type: EventType = EventType.MESSAGE
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobProgress:
    """What of a running job the next event depends on."""

    last_step: int  # highest step reported, over all attempts


@dataclass(frozen=True)
class Effects:
    """What a trainer's event changes."""

    changes: dict[str, Any] = field(default_factory=dict)  # columns of the job
    events: tuple[NewEvent, ...] = ()
    checkpoint: CheckpointSaved | None = None  # to publish under a name of its own
    result: Succeeded | None = None  # to publish as the job's model


def apply(progress: JobProgress, event: TrainerEvent) -> Effects:
    """Say what an event means for a running job.

    A step that was reported before, by an attempt that died after its last checkpoint, is not reported twice.
    """
    match event:
        case Started():
            return Effects(changes={"total_steps": event.total_steps, "n_examples": event.n_examples})
        case Progress() if event.step <= progress.last_step:
            return Effects()
        case Progress():
            remaining_s = (event.total_steps - event.step) * event.seconds_per_step
            return Effects(
                changes={
                    "last_step": event.step,
                    "estimated_finish": round(event.at + remaining_s),
                    "training_tokens_per_s": tokens_per_s(event),
                    "crashes": 0,  # it got further than ever: only crashes in a row count
                },
                events=(metrics_event(event),),
            )
        case CheckpointSaved():
            return Effects(checkpoint=event) if event.epoch is not None else Effects()
        case Note():
            return Effects(events=(NewEvent(event.message, EventLevel(event.level)),))
        case Succeeded():
            return Effects(changes={"trained_tokens": event.trained_tokens}, result=event)
        case Failed() | Interrupted():
            return Effects()  # what follows is for `conclude` to say, when the process is gone


def tokens_per_s(event: Progress) -> float | None:
    """How fast a run trains: the tokens of a mean step over the time of a recent one; None if that took none."""
    return event.trained_tokens / event.step / event.seconds_per_step if event.seconds_per_step > 0 else None


def metrics_event(event: Progress) -> NewEvent:
    """OpenAI's metrics event of a step, message and data."""
    metrics = event.metrics
    losses = [f"training loss={metrics.train_loss:.2f}"]
    if metrics.valid_loss is not None:
        losses.append(f"validation loss={metrics.valid_loss:.2f}")
    if metrics.full_valid_loss is not None:
        losses.append(f"full validation loss={metrics.full_valid_loss:.2f}")
    data = {"step": event.step, "total_steps": event.total_steps, **metrics_data(metrics)}
    message = f"Step {event.step}/{event.total_steps}: {', '.join(losses)}"
    return NewEvent(message, type=EventType.METRICS, data=data)


def metrics_data(metrics: Metrics) -> dict[str, float]:
    """The metrics that were measured, under OpenAI's names."""
    return metrics.model_dump(exclude_none=True)


@dataclass(frozen=True)
class Publish:
    """The run has its result; the model can be published."""


@dataclass(frozen=True)
class Fail:
    code: JobErrorCode
    message: str
    param: str | None = None


@dataclass(frozen=True)
class Retry:
    """Try again from the newest checkpoint."""

    crashed: bool  # counts against the job; being stopped together with the service does not


@dataclass(frozen=True)
class OutOfMemory:
    """Memory ran out; what to do about it, the plan of the run says."""


Conclusion = Publish | Fail | Retry | OutOfMemory


def conclude(state: Exited | Lost, last: Terminal | None, *, crashes: int, max_crashes: int) -> Conclusion:
    """Say what a run's end means, from the process and its last words. Total.

    `crashes` counts those before this end.
    """
    match last:
        case Succeeded():
            return Publish()
        case Failed(code=FailureCode.OUT_OF_MEMORY):
            return OutOfMemory()
        case Failed():
            return Fail(job_error_code(last.code), last.message, last.param)
        case Interrupted():
            return Retry(crashed=False)
    if isinstance(state, Exited) and (state.service_stopped or state.code == _ASKED_TO_STOP):
        return Retry(crashed=False)
    if isinstance(state, Exited) and state.oom_killed:
        return OutOfMemory()
    if crashes + 1 < max_crashes:
        return Retry(crashed=True)
    how = f"with exit code {state.code}" if isinstance(state, Exited) else "without a trace"
    return Fail(
        JobErrorCode.TRAINER_CRASHED,
        f"The training process ended {how}, {max_crashes} times without getting further. "
        "The operator finds the reason with `tunesmith jobs logs`.",
    )


def job_error_code(code: FailureCode) -> JobErrorCode:
    """The trainer's word for a failure, as the job shows it: the lists share their words."""
    return JobErrorCode(code.value)
