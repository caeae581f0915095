"""From a run's adapter to a model that answers: publish the files, ask the engine, then say so."""

import shutil
from pathlib import Path
from typing import Any

from sqlmodel import Session

from inference.adapter_config import CONFIG
from inference.adapter_files import WEIGHTS
from inference.engine import AdapterRef, AdapterRejected
from server.db.tables import CheckpointRow, FileRow, FineTunedModelRow, JobRow
from server.fine_tuning.full_models import trains_all
from server.fine_tuning.job_changes import add_event, end, fail
from server.fine_tuning.leases import checkpoints_of, find_model, get_project, metrics_of, owned
from server.fine_tuning.lifecycle import Fail, NewEvent, metrics_data
from server.fine_tuning.publishing.lora_shape import read_lora
from server.fine_tuning.publishing.outcome import result_events, result_step, steps_to_keep
from server.fine_tuning.publishing.recording import add_record
from server.fine_tuning.publishing.result_file import RESULT_FILENAME, step_metrics_csv
from server.fine_tuning.publishing.succession import take_over_names
from server.fine_tuning.stages import Stage
from server.fine_tuning.worker_services import WorkerServices
from server.ids import new_checkpoint_id, new_file_id
from server.models.names import FineTunedModelName, new_model_name, parse_model_name
from server.models.repository import add_fine_tuned_model
from server.record.hashes import sha256
from server.record.manifest import OwnWeightsRecord
from server.storage.blob_store import BlobInfo, BlobKey
from server.storage.linking import put
from server.vocabulary import FilePurpose, JobErrorCode, JobStatus
from trainer.contract.checkpoint import publish_directory
from trainer.contract.events import CheckpointSaved, Succeeded
from trainer.contract.full_model import FULL_MODEL_REPORT, FullModelReport
from trainer.contract.full_model import WEIGHTS as FULL_WEIGHTS
from trainer.contract.golden import GOLDEN_SAMPLES
from trainer.contract.reproduction import REPRODUCTION
from trainer.contract.run_directory import read_events

ADAPTER_FILES = (CONFIG, WEIGHTS)


def name_model(services: WorkerServices, job: JobRow, step: int | None = None) -> FineTunedModelName:
    """Make a name for the job's model, or for its checkpoint at a step."""
    slug = get_project(services.database, job).slug
    parent = parse_model_name(job.parent_model or "")
    return new_model_name(job.requested_model if parent is None else parent.base, slug, job.suffix, step)


def publish_files(
    services: WorkerServices, job: JobRow, source: Path, name: FineTunedModelName, step: int
) -> AdapterRef:
    """Put an adapter, or a whole model, where models are served from, with its record. Idempotent.

    It is complete when it has its name, and its directory has the unique part of that. What lies there now is what the
    name will always stand for.
    """
    adapters = services.settings.adapters
    final = adapters / name.unique
    if not final.exists():
        staged = adapters / f"{name.unique}.tmp"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for file in _published_files(job, source):
            put(file, staged / file.name)
        add_record(services, job, staged, name=name, step=step, own_weights=_own_weights(job, source))
        publish_directory(staged, final)
    return _refer_to(job, str(name), final)


def _published_files(job: JobRow, source: Path) -> list[Path]:
    if trains_all(job):
        return [path for path in sorted(source.iterdir()) if path.name != FULL_MODEL_REPORT]
    return [source / file for file in (*ADAPTER_FILES, GOLDEN_SAMPLES, REPRODUCTION) if (source / file).is_file()]


def _own_weights(job: JobRow, source: Path) -> OwnWeightsRecord | None:
    if not trains_all(job):
        return None
    report = FullModelReport.model_validate_json((source / FULL_MODEL_REPORT).read_bytes())
    return OwnWeightsRecord(**report.model_dump())


def _refer_to(job: JobRow, name: str, directory: Path) -> AdapterRef:
    if trains_all(job):
        return AdapterRef(name, job.base_model, directory, 0, sha256(directory / FULL_WEIGHTS), is_full=True)
    return AdapterRef(name, job.base_model, directory, read_lora(directory)["lora_rank"], sha256(directory / WEIGHTS))


def add_checkpoint(session: Session, job: JobRow, saved: CheckpointSaved, adapter: AdapterRef, now: float) -> None:
    """Make a published checkpoint a model and list it; those beyond the last three and the best go."""
    measured = {"step": saved.step, **metrics_data(saved.metrics)}
    earlier = next((row for row in checkpoints_of(session, job) if row.step == saved.step), None)
    if earlier is not None:  # of an attempt that was ended, perhaps before it had validated the step
        earlier.metrics = {**earlier.metrics, **measured}
        return
    add_fine_tuned_model(session, job, adapter, now=now, step=saved.step)
    _list_checkpoint(session, job, measured, adapter.name, now)
    message = f"Checkpoint created at step {saved.step} with Snapshot ID: {adapter.name}"
    add_event(session, job, NewEvent(message), now=now)


def publish_result(services: WorkerServices, job: JobRow) -> None:
    """Publish the run's adapter as the job's model; the job has succeeded once the model has answered.

    Raises:
        EngineUnavailable: try again later; nothing has changed.
    """
    name = None if job.pending_model is None else parse_model_name(job.pending_model)
    if name is None:
        raise ValueError("a job that has its result has a name for its model")
    run = services.run_directory(job)
    result = _result_of(run.events)
    adapter = publish_files(services, job, run.root / result.adapter, name, result_step(result))
    try:
        services.adapters.verify(adapter)
    except AdapterRejected as error:
        _reject(services, job, adapter, error)
        return
    _succeed(services, job, adapter, result)


def discard_pending(services: WorkerServices, job: JobRow) -> None:
    """Delete the model that a job which was cancelled while it was being published did not get. Idempotent.

    Raises:
        EngineUnavailable: the engine could not be told, so the files stay for now.
    """
    name = None if job.pending_model is None else parse_model_name(job.pending_model)
    if name is not None and (services.settings.adapters / name.unique).exists():
        services.adapters.forget(str(name) if trains_all(job) else job.base_model, str(name))
        shutil.rmtree(services.settings.adapters / name.unique)


def purge(services: WorkerServices, model: FineTunedModelRow) -> None:
    """Delete what a deleted model has left: its place in the engine, then its files.

    Raises:
        EngineUnavailable: the engine could not be told, so the files stay for now.
    """
    directory = services.settings.adapters / model.directory
    if directory.exists():
        services.adapters.forget(model.name if model.is_full else model.base_model, model.name)
        shutil.rmtree(directory)


def _result_of(events: Path) -> Succeeded:
    last = read_events(events).events[-1]
    if not isinstance(last, Succeeded):
        raise ValueError("a run that has its result says so in its last event")
    return last


def rank_of(job: JobRow) -> int:
    return int((job.training_settings or {})["lora_rank"])


def _reject(services: WorkerServices, job: JobRow, adapter: AdapterRef, error: AdapterRejected) -> None:
    message = f"The trained model could not be served: {error}"
    with owned(services.database, job) as (session, current):
        fail(session, current, Fail(JobErrorCode.MODEL_NOT_SERVABLE, message), now=services.clock())
        current.pending_model = None
    shutil.rmtree(adapter.directory, ignore_errors=True)


def _succeed(services: WorkerServices, job: JobRow, adapter: AdapterRef, result: Succeeded) -> None:
    file_id = new_file_id()
    metrics = metrics_of(services.database, job)
    blob = services.blobs.put(BlobKey(file_id), [step_metrics_csv(metrics)])
    # An attempt that resumed at the last step reports no checkpoint; the events know every step.
    (of_result,) = (data for data in metrics if data["step"] == result_step(result))
    measured = {name: value for name, value in of_result.items() if name != "total_steps"}
    now = services.clock()
    with owned(services.database, job) as (session, current):
        session.add(_result_file(current, file_id, blob, now))
        add_fine_tuned_model(session, current, adapter, now=now)
        _list_checkpoint(session, current, measured, adapter.name, now)
        current.result_file = file_id
        current.fine_tuned_model = adapter.name
        current.pending_model = None
        current.stage = Stage.CLEAN_UP
        end(session, current, JobStatus.SUCCEEDED, now=now)
        for event in result_events(result, total_steps=current.total_steps or result.step):
            add_event(session, current, event, now=now)
        add_event(session, current, NewEvent(f"New fine-tuned model created: {adapter.name}"), now=now)
        for old, model in take_over_names(session, current, now=now):
            add_event(session, current, NewEvent(f"{old} now stands for {model}"), now=now)
        add_event(session, current, NewEvent("The job has successfully completed"), now=now)


def _list_checkpoint(session: Session, job: JobRow, metrics: dict[str, Any], name: str, now: float) -> None:
    for earlier in [row for row in checkpoints_of(session, job) if row.step == metrics["step"]]:
        session.delete(earlier)  # of a pause at the end, or of the best step; its model stays, beside the job's own
        session.flush()
    session.add(
        CheckpointRow(
            id=new_checkpoint_id(),
            project_id=job.project_id,
            job_id=job.id,
            step=metrics["step"],
            created_at=int(now),
            model_name=name,
            metrics=metrics,
        )
    )
    session.flush()
    rows = checkpoints_of(session, job)
    kept = steps_to_keep({row.step: row.metrics.get("full_valid_loss") for row in rows})
    for old in [row for row in rows if row.step not in kept]:
        model = find_model(session, old.model_name)
        if model is not None:
            model.deleted_at = int(now)  # its files go with the next purge
        session.delete(old)


def _result_file(job: JobRow, file_id: str, blob: BlobInfo, now: float) -> FileRow:
    return FileRow(
        id=file_id,
        project_id=job.project_id,
        filename=RESULT_FILENAME,
        purpose=FilePurpose.FINE_TUNE_RESULTS,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=int(now),
    )
