"""The worker's part of a pause: stop the run, and make what it has learnt a model that can be used meanwhile."""

import shutil

from pydantic import ValidationError

from inference.engine import AdapterRejected
from server.db.tables import JobRow
from server.fine_tuning.full_models import trains_all
from server.fine_tuning.job_changes import add_event, fail
from server.fine_tuning.leases import has_checkpoint, owned
from server.fine_tuning.lifecycle import Fail, NewEvent, job_error_code
from server.fine_tuning.publishing.stage import add_checkpoint, name_model, publish_files
from server.fine_tuning.running.stage import ReportedCheckpoint, apply_new_events, find_checkpoint, find_run, last_words
from server.fine_tuning.stages import Stage
from server.fine_tuning.worker_services import WorkerServices
from server.models.names import parse_model_name
from server.vocabulary import EventLevel, JobStatus
from trainer.contract.checkpoint import ADAPTER
from trainer.contract.events import Failed

_PATIENCE_S = 60.0  # for the step that is going on, and for saving it


def wind_down(services: WorkerServices, job: JobRow) -> None:
    """Stop the run of a job that was paused, and publish its newest checkpoint. Safe to repeat.

    What the run keeps stays where it is: the next attempt goes on from it.

    Raises:
        EngineUnavailable: try again later; the run is stopped.
    """
    handle = find_run(services, job)
    if handle is not None:
        services.launcher.stop(handle, _PATIENCE_S)
    failure = _apply_last_events(services, job)
    snapshot = None if failure is not None else _find_snapshot(services, job)
    if snapshot is None:
        _end(services, job, failure)
    elif job.pending_model is None:
        _name(services, job, snapshot.event.step)
    else:
        _publish(services, job, snapshot, job.pending_model)


def _apply_last_events(services: WorkerServices, job: JobRow) -> Fail | None:
    """Apply what the run still said. It may have failed before it could stop."""
    try:
        apply_new_events(services, job)
        last = last_words(services.run_directory(job))
    except ValidationError:
        return None  # the next attempt goes on from the last whole checkpoint
    return Fail(job_error_code(last.code), last.message, last.param) if isinstance(last, Failed) else None


def _find_snapshot(services: WorkerServices, job: JobRow) -> ReportedCheckpoint | None:
    """The newest checkpoint; None if there is none, clients know it already, or nothing could serve it."""
    if trains_all(job):
        return None  # of a run that trains all weights only the result becomes a model: docs/decisions/0032
    found = find_checkpoint(services, job, attempts=range(job.attempt, 0, -1))
    if found is None or services.base_of(job) is None or has_checkpoint(services.database, job, found.event.step):
        return None
    return found if (found.directory / ADAPTER).is_dir() else None  # not yet converted: epochs' ends alone are


def _name(services: WorkerServices, job: JobRow, step: int) -> None:
    """Write the snapshot's name down before there is anything of it, so that every try is about the same files."""
    name = str(name_model(services, job, step))
    with owned(services.database, job) as (_, current):
        current.pending_model = name


def _publish(services: WorkerServices, job: JobRow, snapshot: ReportedCheckpoint, pending: str) -> None:
    name = parse_model_name(pending)
    if name is None:
        raise ValueError("a snapshot that is to be published has a model's name")
    adapter = publish_files(services, job, snapshot.directory / ADAPTER, name, snapshot.event.step)
    try:
        services.adapters.verify(adapter)
    except AdapterRejected as error:
        shutil.rmtree(adapter.directory, ignore_errors=True)
        _end(services, job, None, warning=f"The snapshot of step {snapshot.event.step} could not be served: {error}")
        return
    now = services.clock()
    with owned(services.database, job) as (session, current):
        add_checkpoint(session, current, snapshot.event, adapter, now)
        _rest(current)


def _end(services: WorkerServices, job: JobRow, failure: Fail | None, *, warning: str | None = None) -> None:
    now = services.clock()
    with owned(services.database, job) as (session, current):
        _rest(current)
        if warning is not None:
            add_event(session, current, NewEvent(warning, EventLevel.WARN), now=now)
        if failure is not None:
            fail(session, current, failure, now=now)


def _rest(job: JobRow) -> None:
    """Nothing of the job runs any more."""
    job.run_handle = None
    job.pending_model = None
    job.estimated_finish = None
    job.stage = Stage.START if job.status == JobStatus.QUEUED else None
