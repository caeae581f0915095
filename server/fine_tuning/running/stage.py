"""The worker's part from `queued` on: start an attempt, follow its events, say what its end means."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlmodel import Session

from inference.engine import AdapterRef
from server.db.tables import JobRow
from server.fine_tuning.adapter_options import asked_adapter, may_be_quantised
from server.fine_tuning.estimates.planned import Planned, keep_planned, planned_of
from server.fine_tuning.full_models import trains_all
from server.fine_tuning.hyperparameters import wanted_quantization
from server.fine_tuning.job_changes import add_event, base_not_offered, fail, move
from server.fine_tuning.job_files import data_files
from server.fine_tuning.leases import owned, report_of
from server.fine_tuning.lifecycle import (
    Fail,
    JobProgress,
    NewEvent,
    OutOfMemory,
    Publish,
    Retry,
    apply,
    conclude,
)
from server.fine_tuning.placing import admit
from server.fine_tuning.publishing.outcome import is_for_clients
from server.fine_tuning.publishing.stage import add_checkpoint, name_model, publish_files, rank_of
from server.fine_tuning.running import training_spec
from server.fine_tuning.running.out_of_memory import after_out_of_memory
from server.fine_tuning.running.watching import JobWatch
from server.fine_tuning.serving_contract import form_of_files
from server.fine_tuning.stages import Stage
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.launcher import LaunchRefused, LaunchRequest, Lost, RunHandle, Running, RunState
from server.storage.blob_store import BlobKey
from server.storage.linking import put_directory
from server.storage.token_cache import link_directory
from server.vocabulary import JobErrorCode, JobStatus
from trainer.contract.checkpoint import ADAPTER, is_complete, list_checkpoints
from trainer.contract.events import CheckpointSaved, Failed, Interrupted, Measured, Succeeded, Terminal, TrainerEvent
from trainer.contract.run_directory import EventsRead, RunDirectory, read_events
from trainer.contract.spec import ServingLimits

_BACK_OFF_S = 1.0  # after a crash, doubled for each one more


def begin_attempt(services: WorkerServices, job: JobRow) -> None:
    """Say that the next attempt is to run, before anything of it exists."""
    now = services.clock()
    with owned(services.database, job) as (session, current):
        if current.status == JobStatus.QUEUED:
            admit(session, current, services.placement, now)
            move(current, JobStatus.RUNNING)
        current.attempt += 1
        current.stage = Stage.LAUNCH
        current.run_handle = None
        current.events_offset = 0
        current.last_event_seq = -1
        if not current.started:
            current.started = True
            add_event(session, current, NewEvent("Fine-tuning job started"), now=now)


def retry(services: WorkerServices, job: JobRow) -> None:
    """Begin the next attempt when the back-off after a crash is over."""
    if job.not_before <= services.clock():
        begin_attempt(services, job)


def launch(services: WorkerServices, job: JobRow) -> None:
    """Stage the attempt's run directory and start the trainer in it. Safe to repeat after a death in the middle."""
    run = services.run_directory(job)
    failure = None if run.spec.exists() else _stage(services, job, run)
    handle = None
    if failure is None:
        try:
            handle = services.launcher.launch(LaunchRequest(run.root, "train", _environment(job)))
        except LaunchRefused as error:
            failure = Fail(JobErrorCode.INTERNAL_ERROR, str(error))
    with owned(services.database, job, also_changed=True) as (session, current):
        if handle is not None:
            current.run_handle = handle.to_json()
            if current.stage == Stage.LAUNCH:  # not paused meanwhile
                current.stage = Stage.TRAIN
        elif failure is not None and current.status == JobStatus.RUNNING:
            fail(session, current, failure, now=services.clock())


def follow(services: WorkerServices, job: JobRow) -> None:
    """Apply what the run has reported since; when it is gone, conclude."""
    state: RunState = Lost()
    if job.run_handle is not None:
        state = services.launcher.poll(RunHandle.from_json(job.run_handle))  # before reading: its last words count
    try:
        apply_new_events(services, job)
    except ValidationError:
        _stop(services, job)
        _conclude(services, job, Lost(), None)
        return
    if not isinstance(state, Running):
        _conclude(services, job, state, last_words(services.run_directory(job)))


def _environment(job: JobRow) -> dict[str, str]:
    return {} if job.gpu is None else {"CUDA_VISIBLE_DEVICES": str(job.gpu)}


def apply_new_events(services: WorkerServices, job: JobRow) -> None:
    """Apply what the job's run has reported since it was last looked at.

    Raises:
        pydantic.ValidationError: it has reported something that is no event.
    """
    run = services.run_directory(job)
    read = read_events(run.events, job.events_offset)
    events = [event for event in read.events if event.seq > job.last_event_seq]
    published = [_publish_checkpoint(services, job, run, event) for event in events]
    if events:
        _apply(services, job, read, list(zip(events, published, strict=True)))


def find_run(services: WorkerServices, job: JobRow) -> RunHandle | None:
    """The job's run, also one that was started by a worker which died before it could say so; None if there is none."""
    if job.run_handle is not None:
        return RunHandle.from_json(job.run_handle)
    run = services.run_directory(job)
    if not run.spec.exists():
        return None
    return services.launcher.launch(LaunchRequest(run.root, "train"))  # launching again finds it


@dataclass(frozen=True)
class ReportedCheckpoint:
    """A whole checkpoint that clients may hear of."""

    directory: Path
    event: CheckpointSaved


def find_checkpoint(services: WorkerServices, job: JobRow, *, attempts: Iterable[int]) -> ReportedCheckpoint | None:
    """The newest checkpoint of the first of these attempts that has one."""
    found = (_find_checkpoint(services.run_directory(job, attempt)) for attempt in attempts)
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def _stage(services: WorkerServices, job: JobRow, run: RunDirectory) -> Fail | None:
    base = services.base_of(job)
    if base is None:
        return base_not_offered(job)
    shutil.rmtree(run.root, ignore_errors=True)
    run.root.mkdir(parents=True)
    if not _stage_files(services, job, run):
        message = "A file of the job was deleted before it could be trained on."
        return Fail(JobErrorCode.INVALID_TRAINING_FILE, message, "training_file")
    if job.parent_model is not None:
        put_directory(services.check_directory(job).parent, run.parent)
    checkpoint = find_checkpoint(services, job, attempts=range(job.attempt - 1, 0, -1))
    resume_from = None if checkpoint is None else checkpoint.directory
    spec = training_spec.build(
        job,
        base,
        threads=services.settings.trainer_threads,
        serving=ServingLimits(
            quantization=base.serve_quantized,
            max_rank=services.settings.max_lora_rank,
            max_error=services.settings.max_adapter_error,
        ),
        start_from=run.parent if job.parent_model is not None else None,
        resume_from=resume_from,
    )
    run.write_spec(spec)
    return None


def _find_checkpoint(run: RunDirectory) -> ReportedCheckpoint | None:
    """The newest checkpoint to resume from that was reported: of one that was not, clients would never hear."""
    try:
        events = read_events(run.events).events
    except ValidationError:
        return None
    reported = {run.root / event.directory: event for event in events if isinstance(event, CheckpointSaved)}
    newest_first = reversed(list_checkpoints(run.checkpoints))
    path = next((path for path in newest_first if path in reported and is_complete(path)), None)
    return None if path is None else ReportedCheckpoint(path, reported[path])


def _stage_files(services: WorkerServices, job: JobRow, run: RunDirectory) -> bool:
    """Take the files over from the check, which read them already: deleting an upload does not stop its job."""
    checked = services.check_directory(job)
    for file_id, destination, row in data_files(services, job, run):
        source = checked.root / destination.name
        if source.exists():
            destination.hardlink_to(source)
        elif row is not None:
            services.blobs.stage(BlobKey(file_id), destination)
        else:
            return False
        if checked.tokens(source).is_dir():
            link_directory(checked.tokens(source), run.tokens(destination))
    if checked.selection.is_dir():
        link_directory(checked.selection, run.selection)
    return True


def _publish_checkpoint(
    services: WorkerServices, job: JobRow, run: RunDirectory, event: TrainerEvent
) -> AdapterRef | None:
    """Publish the files of a checkpoint that clients are to see; the job's model has its own name.

    Not of a whole model: each would take as much disk as its base. docs/decisions/0032 has the reasons.
    """
    settings = job.training_settings or {}
    if (
        not isinstance(event, CheckpointSaved)
        or trains_all(job)
        or not is_for_clients(event, n_epochs=settings["n_epochs"], patience=settings.get("early_stopping_patience"))
    ):
        return None
    adapter = run.root / event.directory / ADAPTER
    if not adapter.exists():
        return None  # pruned by the trainer meanwhile: newer ones have been saved
    return publish_files(services, job, adapter, name_model(services, job, event.step), event.step)


def _apply(
    services: WorkerServices,
    job: JobRow,
    read: EventsRead,
    events: list[tuple[TrainerEvent, AdapterRef | None]],
) -> None:
    with owned(services.database, job) as (session, current):
        watch = JobWatch(session, current)
        for event, published in events:
            effects = apply(JobProgress(current.last_step), event)
            for column, value in effects.changes.items():
                setattr(current, column, value)
            for new in effects.events:
                add_event(session, current, new, now=event.at)
            if effects.result is not None and effects.result.measured is not None:
                measured = _describe(effects.result.measured, planned_of(current), services.settings.trainer_threads)
                report_of(session, current).measured = measured
            if effects.checkpoint is not None and published is not None:
                add_checkpoint(session, current, effects.checkpoint, published, event.at)
            watch.see(event)
            current.last_event_seq = event.seq
        current.events_offset = read.offset
        watch.keep()


def _describe(measured: Measured, planned: Planned, threads: int) -> dict[str, object]:
    """What later estimates are made from: what the run took, and with which plan."""
    return {**measured.model_dump(), "plan": planned.memory.model_dump(), "threads": threads}


def last_words(run: RunDirectory) -> Terminal | None:
    """The run's last event if it is one that ends it."""
    events = read_events(run.events).events
    last = events[-1] if events else None
    return last if isinstance(last, Succeeded | Failed | Interrupted) else None


def _conclude(services: WorkerServices, job: JobRow, state: RunState, last: Terminal | None) -> None:
    if isinstance(state, Running):
        raise ValueError("a run that is going on has no end")
    name = str(name_model(services, job))
    with owned(services.database, job) as (session, current):
        current.run_handle = None
        crashes, max_crashes = current.crashes, services.settings.max_crashes
        match conclude(state, last, crashes=crashes, max_crashes=max_crashes):
            case Publish():
                current.stage = Stage.PUBLISH
                current.pending_model = name
            case Fail() as failure:
                fail(session, current, failure, now=services.clock())
            case OutOfMemory():
                _go_on_leaner(services, session, current)
            case Retry(crashed=crashed):
                current.stage = Stage.RETRY
                current.crashes += crashed
                current.not_before = services.clock() + (_BACK_OFF_S * 2**crashes if crashed else 0)


def _go_on_leaner(services: WorkerServices, session: Session, job: JobRow) -> None:
    step = after_out_of_memory(
        planned_of(job),
        batch_size=(job.hyperparameters or {})["batch_size"],
        rank=None if trains_all(job) else rank_of(job),
        allow_4bit=services.settings.allow_4bit
        and _may_choose_quantization(services, job)
        and may_be_quantised(asked_adapter(job.requested_hyperparameters).type),
    )
    if isinstance(step, Fail):
        fail(session, job, step, now=services.clock())
        return
    keep_planned(job, step.planned)
    job.hyperparameters = (job.hyperparameters or {}) | {"quantization": step.planned.memory.quantization or "none"}
    job.stage = Stage.RETRY
    job.not_before = 0.0
    add_event(session, job, step.event, now=services.clock())


def _may_choose_quantization(services: WorkerServices, job: JobRow) -> bool:
    base = services.base_of(job)
    stored_in = None if base is None else form_of_files(base)
    return wanted_quantization(job.requested_hyperparameters, stored_in=stored_in) == "auto"


def _stop(services: WorkerServices, job: JobRow) -> None:
    if job.run_handle is not None:
        services.launcher.stop(RunHandle.from_json(job.run_handle), services.settings.stop_grace_s)
