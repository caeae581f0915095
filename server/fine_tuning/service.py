"""What clients may ask of a job."""

import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.base_models import BaseModelEntry, BaseModels, Kind
from server.db.project_session import ProjectSession
from server.db.tables import CheckpointRow, JobEventRow, JobReportRow, JobRow
from server.errors import InvalidRequest, NotFound
from server.fine_tuning import repository
from server.fine_tuning.adapter_options import FULL
from server.fine_tuning.asked.contradictions import Circumstances, refuse_contradictions
from server.fine_tuning.asked.full_fine_tuning import Ground, is_full, refuse_what_full_cannot
from server.fine_tuning.asked.quantised_files import refuse_on_quantised_files
from server.fine_tuning.asked.servable_adapters import Parent
from server.fine_tuning.asked_files import find_mixed_in_files, find_usable_file
from server.fine_tuning.data_options import build_selection
from server.fine_tuning.dry_runs.estimating import Question
from server.fine_tuning.estimates.planner import Room
from server.fine_tuning.job_changes import add_event, end, move
from server.fine_tuning.lifecycle import NewEvent, is_terminal
from server.fine_tuning.preferences import method_name
from server.fine_tuning.publishing.lora_shape import find_untrainable, read_lora
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.fine_tuning.serving_contract import form_of_files, look_at, refuse_unservable, wanted_of
from server.fine_tuning.stages import Stage
from server.ids import new_job_id
from server.integrations import service as integrations
from server.models.names import normalise_suffix
from server.models.resolving import UsableModel
from server.pagination import Page, build_page, unknown_cursor
from server.placement.machine import count_parameters
from server.settings import Settings
from server.vocabulary import JobStatus
from trainer.contract.spec import BY_TOKENS


@dataclass(frozen=True)
class PageRequest:
    after: str | None
    limit: int


@dataclass(frozen=True)
class Offer:
    """What this server trains, and on what."""

    base_models: BaseModels
    on_gpu: bool  # whether trainers compute on one
    max_rank: int = 64  # of an adapter that the engines serve
    adapters: Path | None = None  # where those of fine-tuned models lie
    room: Room | None = None  # for a job's memory; None: not known
    home: Path = Path("/")  # on whose disk checkpoints and models lie


def create_job(
    session: ProjectSession, offer: Offer, model: UsableModel | None, asked: CreateFineTuningJobRequest
) -> JobRow:
    """Make a job and its first event. `model` is what the name that was asked for means to the project.

    Raises:
        InvalidRequest: something that was asked for is not there, or is not offered.
    """
    model, base = _get_trainable(offer.base_models, model, asked.model)
    requested = _get_requested(asked, model, base, offer)
    for param in ("training_file", "validation_file"):
        find_usable_file(session, param, getattr(asked, param))
    find_mixed_in_files(session, asked)
    now = time.time()
    job = JobRow(
        id=new_job_id(),
        project_id=session.project_id,
        created_at=int(now),
        status=JobStatus.VALIDATING_FILES,
        requested_model=asked.model if model.alias_of is None else model.alias_of,
        base_model=model.base_model,
        parent_model=None if model.row is None else model.row.name,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        suffix=None if asked.suffix is None else normalise_suffix(asked.suffix),
        user_provided_suffix=asked.suffix,
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        method=asked.method_type(),
        requested_hyperparameters=requested,
        job_metadata=asked.metadata,
        data_options=None if asked.data is None else asked.data.model_dump(exclude_none=True),
    )
    job.integrations = integrations.shown(job.id, asked.integrations or []) or None
    session.add(job)
    integrations.add(session, job, asked.integrations or [])
    add_event(session, job, NewEvent(f"Created fine-tuning job: {job.id}"), now=now)
    return job


def build_question(
    session: ProjectSession,
    offer: Offer,
    model: UsableModel | None,
    asked: CreateFineTuningJobRequest,
    settings: Settings,
) -> Question:
    """What an estimate of the job depends on, which is refused as the job would be.

    Raises:
        InvalidRequest: something that was asked for is not there, or is not offered.
    """
    model, base = _get_trainable(offer.base_models, model, asked.model)
    requested = _get_requested(asked, model, base, offer)
    training = find_usable_file(session, "training_file", asked.training_file)
    if training is None:
        raise ValueError("a request names its training file")
    return Question(
        base=base,
        training=training,
        validation=find_usable_file(session, "validation_file", asked.validation_file),
        method=method_name(asked.method_type()),
        requested=requested,
        pii=(asked.data and asked.data.pii) or settings.pii_policy,
        mixed_in=find_mixed_in_files(session, asked),
        selection=build_selection({} if asked.data is None else asked.data.model_dump(), seed=asked.seed or 0),
        lora={} if model.row is None else _lora_of(settings.adapters / model.row.directory, asked.model),
    )


def list_jobs(session: ProjectSession, page: PageRequest, metadata: Mapping[str, str] | None) -> Page[JobRow]:
    before_seq = None
    if page.after is not None:
        cursor = repository.find_job(session, page.after)
        if cursor is None:
            raise unknown_cursor(page.after)
        before_seq = cursor.seq
    rows = repository.list_jobs(session, before_seq=before_seq, limit=page.limit + 1, metadata=metadata)
    return build_page(rows, page.limit)


def retrieve_job(session: ProjectSession, job_id: str) -> JobRow:
    """Raises: NotFound."""
    job = repository.find_job(session, job_id)
    if job is None:
        raise NotFound(f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")
    return job


def cancel_job(session: ProjectSession, job_id: str) -> JobRow:
    """Cancel a job that has not ended. Its process, if it has one, is stopped soon after by the worker.

    Raises:
        NotFound: there is no such job.
        InvalidRequest: it has ended already.
    """
    job = retrieve_job(session, job_id)
    if is_terminal(job.status):
        raise InvalidRequest(f'Cannot cancel a job {job_id} that already has status "{job.status}".')
    now = time.time()
    if job.status is JobStatus.PAUSED:
        job.stage = job.stage or Stage.CLEAN_UP  # what it kept in order to go on
    end(session, job, JobStatus.CANCELLED, now=now)
    session.add(job)
    add_event(session, job, NewEvent("The job was cancelled"), now=now)
    return job


def pause_job(session: ProjectSession, job_id: str) -> JobRow:
    """Pause a job that waits or runs. Its process, if it has one, is stopped soon after by the worker.

    Raises:
        NotFound: there is no such job.
        InvalidRequest: it neither waits nor trains.
    """
    job = retrieve_job(session, job_id)
    if job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
        raise InvalidRequest(f'Cannot pause a job {job_id} that has status "{job.status}".')
    if job.stage == Stage.PUBLISH:
        raise InvalidRequest(f"Cannot pause a job {job_id} whose training has ended: it is about to succeed.")
    if job.status == JobStatus.RUNNING:
        job.stage = Stage.PAUSE
    elif job.stage == Stage.START:
        job.stage = None  # nothing of it runs
    move(job, JobStatus.PAUSED)
    job.estimated_finish = None
    session.add(job)
    add_event(session, job, NewEvent("The job was paused"), now=time.time())
    return job


def resume_job(session: ProjectSession, job_id: str) -> JobRow:
    """Let a paused job wait for its turn again; it goes on from where it was.

    Raises:
        NotFound: there is no such job.
        InvalidRequest: it is not paused.
    """
    job = retrieve_job(session, job_id)
    if job.status is not JobStatus.PAUSED:
        raise InvalidRequest(f'Cannot resume a job {job_id} that has status "{job.status}".')
    move(job, JobStatus.QUEUED)
    job.stage = job.stage or Stage.START  # while its run is still being stopped, that comes first
    session.add(job)
    add_event(session, job, NewEvent("The job was resumed"), now=time.time())
    return job


def list_events(session: ProjectSession, job_id: str, page: PageRequest) -> Page[JobEventRow]:
    retrieve_job(session, job_id)
    before_seq = None
    if page.after is not None:
        cursor = repository.find_event(session, job_id, page.after)
        if cursor is None:
            raise unknown_cursor(page.after)
        before_seq = cursor.seq
    rows = repository.list_events(session, job_id, before_seq=before_seq, limit=page.limit + 1)
    return build_page(rows, page.limit)


def retrieve_report(session: ProjectSession, job_id: str) -> JobReportRow:
    """Raises: NotFound: there is no such job, or nothing is known of its files yet."""
    job = retrieve_job(session, job_id)
    report = repository.find_report(session, job_id)
    if report is None:
        raise NotFound(
            f'The job {job_id} has no report: its files have not been looked through (it has status "{job.status}"). '
            "Ask again once the job is queued.",
            param="fine_tuning_job_id",
            code="report_not_found",
        )
    return report


def list_checkpoints(session: ProjectSession, job_id: str, page: PageRequest) -> Page[CheckpointRow]:
    retrieve_job(session, job_id)
    before_step = None
    if page.after is not None:
        cursor = repository.find_checkpoint(session, job_id, page.after)
        if cursor is None:
            raise unknown_cursor(page.after)
        before_step = cursor.step
    rows = repository.list_checkpoints(session, job_id, before_step=before_step, limit=page.limit + 1)
    return build_page(rows, page.limit)


def _refuse_what_is_not_offered(asked: CreateFineTuningJobRequest, base: BaseModelEntry, offer: Offer) -> None:
    if asked.method is not None and asked.method.type == "reinforcement":
        raise InvalidRequest(
            "The method 'reinforcement' is not offered yet. Use 'supervised', 'dpo', 'orpo', 'kto', 'simpo' or "
            "'continued_pretraining'.",
            param="method.type",
            code="unsupported_value",
        )
    holdout = None if asked.data is None else asked.data.holdout
    if holdout is not None and asked.validation_file is not None:
        raise InvalidRequest(
            "A 'validation_file' is given, so that nothing is held out. Leave out 'data.holdout' or 'validation_file'.",
            param="data.holdout",
            code="invalid_value",
        )
    circumstances = Circumstances(
        place=asked.place_of_hyperparameters(),
        context_length=base.context_length,
        on_gpu=offer.on_gpu,
        validates=asked.validation_file is not None or holdout is not None,
        packs=method_name(asked.method_type()) in BY_TOKENS,
    )
    refuse_contradictions(asked.asked_hyperparameters(), circumstances)


def _get_requested(
    asked: CreateFineTuningJobRequest, model: UsableModel, base: BaseModelEntry, offer: Offer
) -> dict[str, Any]:
    """The hyperparameters that were asked for, with what follows from the model that the training goes on from.

    Raises:
        InvalidRequest: something is not offered.
    """
    _refuse_what_is_not_offered(asked, base, offer)
    hyperparameters = asked.asked_hyperparameters()
    ground = Ground(
        place=asked.place_of_hyperparameters(),
        base_model=base.name,
        is_further=model.row is not None,
        is_of_full=model.row is not None and model.row.is_full,
        parameters=count_parameters(base.source),
        room=offer.room,
        free_disk_bytes=shutil.disk_usage(offer.home).free,
    )
    refuse_what_full_cannot(hyperparameters, ground)
    trains_all = is_full(hyperparameters, ground)
    refuse_on_quantised_files(hyperparameters, place=ground.place, stored_in=form_of_files(base), trains_all=trains_all)
    requested = hyperparameters.asked()
    if trains_all:
        return requested | {"adapter": {"type": FULL}}
    _refuse_what_cannot_be_served(asked, model, base, offer)
    return requested


def _refuse_what_cannot_be_served(
    asked: CreateFineTuningJobRequest, model: UsableModel, base: BaseModelEntry, offer: Offer
) -> None:
    parent = None
    if model.row is not None and offer.adapters is not None:
        adapter = offer.adapters / model.row.directory
        parent = Parent(model.row.name, _lora_of(adapter, asked.model))
        if model.row.job_id is None:
            _refuse_untrainable(adapter, asked.model, base)
    requested = asked.asked_hyperparameters().asked()
    wanted = wanted_of(requested, look_at(base), max_rank=offer.max_rank, parent=parent)
    refuse_unservable(wanted, asked.place_of_hyperparameters())


def _get_trainable(base_models: BaseModels, model: UsableModel | None, name: str) -> tuple[UsableModel, BaseModelEntry]:
    base = None if model is None else base_models.find(model.base_model)
    if model is None or base is None:
        raise _not_available(name)
    if base.kind is not Kind.CHAT:
        raise InvalidRequest(
            f"The model {name[:256]} gives embeddings, and only models that answer in text are fine-tuned here.",
            param="model",
            code="model_not_available",
        )
    return model, base


def _refuse_untrainable(adapter: Path, model: str, base: BaseModelEntry) -> None:
    """Of one that was made elsewhere. Raises: InvalidRequest."""
    reason = find_untrainable(adapter)
    if reason is not None:
        raise InvalidRequest(
            f"Training does not go on from the imported model {model[:256]}: {reason}, which adapters that are trained "
            f"here never have. Use its base model, {base.name}.",
            param="model",
            code="model_not_available",
        )


def _not_available(model: str) -> InvalidRequest:
    return InvalidRequest(
        f"Model {model[:256]} is not available for fine-tuning or does not exist.",
        param="model",
        code="model_not_available",
    )


def _lora_of(adapter: Path, model: str) -> dict[str, Any]:
    try:
        return read_lora(adapter)
    except FileNotFoundError as error:
        raise _not_available(model) from error  # deleted since it was found
