"""The changes the worker makes to a job inside one transaction."""

from sqlmodel import Session

from server.db.job_events import add_job_event
from server.db.tables import JobRow
from server.fine_tuning.lifecycle import Fail, NewEvent, is_terminal, may_follow
from server.fine_tuning.stages import Stage
from server.vocabulary import EventLevel, JobErrorCode, JobStatus, WebhookEventType
from server.webhooks.outbox import add_webhook_event

_TOLD = {
    JobStatus.SUCCEEDED: WebhookEventType.JOB_SUCCEEDED,
    JobStatus.FAILED: WebhookEventType.JOB_FAILED,
    JobStatus.CANCELLED: WebhookEventType.JOB_CANCELLED,
}


class ImpossibleTransition(Exception):
    """A status was to follow one that it may not follow."""


def move(job: JobRow, status: JobStatus) -> None:
    """Give the job its next status.

    Raises:
        ImpossibleTransition: the lifecycle has no such step; or it is the last, which takes more (`end`).
    """
    if is_terminal(status):
        raise ImpossibleTransition(f"{job.status} → {status}")
    _step(job, status)


def end(session: Session, job: JobRow, status: JobStatus, *, now: float) -> None:
    """Give the job its last status, and have its project told.

    Raises:
        ImpossibleTransition: the lifecycle has no such step.
    """
    _step(job, status)
    job.finished_at = int(now)
    job.estimated_finish = None
    add_webhook_event(session, _TOLD[status], project_id=job.project_id, object_id=job.id, now=now)


def add_event(session: Session, job: JobRow, event: NewEvent, *, now: float) -> None:
    add_job_event(session, job, event.message, now=now, level=event.level, type=event.type, data=event.data)


def fail(session: Session, job: JobRow, failure: Fail, *, now: float) -> None:
    """End the job with an error, and say so as its last event."""
    end(session, job, JobStatus.FAILED, now=now)
    job.error_code = failure.code
    job.error_message = failure.message
    job.error_param = failure.param
    job.stage = Stage.CLEAN_UP
    add_event(session, job, NewEvent(failure.message, EventLevel.ERROR), now=now)


def base_not_offered(job: JobRow) -> Fail:
    """Why a job fails whose base model the operator has taken away since."""
    message = f"The base model {job.requested_model} is not offered any more."
    return Fail(JobErrorCode.BASE_MODEL_UNAVAILABLE, message, "model")


def _step(job: JobRow, status: JobStatus) -> None:
    if not may_follow(job.status, status):
        raise ImpossibleTransition(f"{job.status} → {status}")
    job.status = status
