"""The worker's part while a job is `validating_files`: parse the files, have them tokenised, resolve "auto"."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from server.base_models import BaseModelEntry
from server.db.tables import JobRow
from server.fine_tuning import practice
from server.fine_tuning.adapter_options import FULL, asked_adapter
from server.fine_tuning.asked.servable_adapters import Base, Parent, Refusal, route_of
from server.fine_tuning.data_options import MAX_MIXED_IN, mixed_in_files, wanted_selection
from server.fine_tuning.data_report import DataReport
from server.fine_tuning.estimates.disk import find_lack_of_disk
from server.fine_tuning.estimates.estimate import Judgement, build_estimate, judge, longest_after_cutting
from server.fine_tuning.estimates.planned import Planned, keep_planned
from server.fine_tuning.estimates.schemas import Estimate
from server.fine_tuning.hyperparameters import (
    BaseModelInfo,
    DatasetStats,
    Requested,
    ResolvedHyperparameters,
    resolve,
    sequence_limit,
    wanted_quantization,
)
from server.fine_tuning.job_changes import add_event, base_not_offered, fail, move
from server.fine_tuning.job_files import data_files
from server.fine_tuning.leases import measured_runs, owned, report_of
from server.fine_tuning.lifecycle import Fail, NewEvent, job_error_code
from server.fine_tuning.preferences import method_name
from server.fine_tuning.publishing.lora_shape import read_lora
from server.fine_tuning.publishing.parent import stage_parent
from server.fine_tuning.running.training_spec import source_of
from server.fine_tuning.running.watching import foretell
from server.fine_tuning.serving_contract import form_of_files, wanted_of
from server.fine_tuning.stages import Stage
from server.fine_tuning.validating.findings import failure_of, named, warnings
from server.fine_tuning.validating.selection_events import selection_events
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.launcher import Exited, LaunchRequest, RunHandle, Running
from server.storage.blob_store import BlobKey
from server.vocabulary import EventLevel, JobErrorCode, JobStatus
from trainer.contract.examples import MIN_EXAMPLES, too_few_examples
from trainer.contract.faults import find_faults
from trainer.contract.report import MAX_LINES_NAMED, CheckReport, FileKind, param_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec, MethodName, PiiPolicy, Quantization

_CODES: dict[FileKind, JobErrorCode] = {"validation": JobErrorCode.INVALID_VALIDATION_FILE}
_OF_TRAINING = JobErrorCode.INVALID_TRAINING_FILE  # files that are mixed in are trained on, too
_UNKNOWN_SIZE = 1_000_000_000  # parameters assumed of a base that does not say
_IN_4_BITS = (
    "To fit into memory, the base model is held in 4 bits (NF4) while it is trained on. The model is served on the "
    "16-bit base, and the difference is measured at the end."
)
_AS_SERVED = "The base model is served in 4 bits (NF4), and is held in them while it is trained on."


def begin(services: WorkerServices, job: JobRow) -> None:
    """Take up a new job."""
    files = f"training file: {job.training_file}"
    if job.validation_file:
        files += f" and validation file: {job.validation_file}"
    with owned(services.database, job) as (session, current):
        current.stage = Stage.VALIDATE
        add_event(session, current, NewEvent(f"Validating {files}"), now=services.clock())


def validate(services: WorkerServices, job: JobRow) -> None:
    """Parse the files line by line; if they are sound, have the trainer tokenise them."""
    run = services.check_directory(job)
    shutil.rmtree(run.root, ignore_errors=True)
    run.root.mkdir(parents=True)
    base = services.base_of(job)
    if base is None:
        _fail(services, job, base_not_offered(job))
        return
    failure = stage_parent(services, job, run.parent)
    failure = failure or _stage_files(services, job, run)
    failure = failure or find_fault(run, method_name(job.method))
    if failure is not None:
        _fail(services, job, failure)
        return
    run.write_check_spec(
        CheckSpec(
            job_id=job.id,
            base_model=source_of(base),
            method=method_name(job.method),
            context_length_tokens=sequence_limit(job.requested_hyperparameters, base.context_length),
            pii=_pii_policy(services, job),
            selection=wanted_selection(job),
        )
    )
    handle = services.launcher.launch(LaunchRequest(run.root, "check"))
    with owned(services.database, job) as (_, current):
        current.stage = Stage.CHECK
        current.run_handle = handle.to_json()


def follow_check(services: WorkerServices, job: JobRow) -> None:
    """When the trainer has tokenised the files: fail the job, or resolve its hyperparameters and queue it."""
    run = services.check_directory(job)
    state = Exited(0) if job.run_handle is None else services.launcher.poll(RunHandle.from_json(job.run_handle))
    if isinstance(state, Running):
        return
    report = run.read_report()
    if report is None:
        _retry_check(services, job, stopped=isinstance(state, Exited) and state.service_stopped)
    elif report.failure is not None:
        failure = report.failure
        _fail(services, job, Fail(job_error_code(failure.code), failure.message, failure.param))
    else:
        _keep_tokens(services, job, run)
        _queue_or_fail(services, job, report)


def resolve_report(
    report: CheckReport,
    requested: Requested,
    base: BaseModelEntry,
    lora: Mapping[str, Any],
    *,
    method: MethodName,
    on_gpu: bool,
    max_rank: int,
) -> ResolvedHyperparameters:
    """Replace every "auto" by a number; `lora` is of the adapter that the training goes on from."""
    if report.training is None:
        raise ValueError("a report without failure holds the training file's figures")
    resolved = resolve(
        requested,
        DatasetStats(
            n_examples=report.training.n_examples,
            n_tokens=report.training.n_tokens,
            longest_tokens=report.training.longest_tokens,
            n_desirable=report.training.n_desirable,
        ),
        BaseModelInfo(
            parameters=report.base_parameters or _UNKNOWN_SIZE, context_length=base.context_length, max_rank=max_rank
        ),
        method=method,
        on_gpu=on_gpu,
    )
    return replace(resolved, **lora)


def find_fault(run: RunDirectory, method: MethodName) -> Fail | None:
    """Why a job cannot train on the files that are staged, the first reason in full; None if it can.

    Memory stays constant.
    """
    found = find_faults(run.training_file, MAX_LINES_NAMED, method=method)
    is_split = method == "continued_pretraining"  # the trainer counts what one document becomes
    if not found.faults and found.n_examples < MIN_EXAMPLES and not is_split:
        return Fail(JobErrorCode.INVALID_N_EXAMPLES, too_few_examples(found.n_examples), "training_file")
    if found.faults:
        return Fail(JobErrorCode.INVALID_TRAINING_FILE, found.job_message(), "training_file")
    for path in (run.validation_file, *map(run.mixed_in_file, range(MAX_MIXED_IN))):
        found = find_faults(path, MAX_LINES_NAMED, method=method) if path.exists() else found
        if found.faults:
            kind = run.kind_of(path)
            return Fail(_CODES.get(kind, _OF_TRAINING), found.job_message(kind), param_of(kind))
    return None


def _stage_files(services: WorkerServices, job: JobRow, run: RunDirectory) -> Fail | None:
    for file_id, path, row in data_files(services, job, run):
        if row is None:
            kind = run.kind_of(path)
            message = f"The {kind} file {file_id} was deleted before the job could read it."
            return Fail(_CODES.get(kind, _OF_TRAINING), message, param_of(kind))
        services.blobs.stage(BlobKey(row.id), path)
        services.tokens.offer(row.id, run.offered_tokens(path))
    return None


def _keep_tokens(services: WorkerServices, job: JobRow, run: RunDirectory) -> None:
    """For the next job on the same files; those of a file that was deleted meanwhile go."""
    for file_id, path, row in data_files(services, job, run):
        shutil.rmtree(run.offered_tokens(path), ignore_errors=True)
        if row is not None:
            services.tokens.keep(file_id, run.tokens(path))
    for file_id, _, row in data_files(services, job, run):
        if row is None:
            services.tokens.delete(file_id)


def _retry_check(services: WorkerServices, job: JobRow, *, stopped: bool) -> None:
    with owned(services.database, job) as (session, current):
        current.run_handle = None
        current.stage = Stage.VALIDATE
        current.crashes += 0 if stopped else 1
        if current.crashes >= services.settings.max_crashes:
            message = "The files could not be tokenised: the process ended without a report. Ask the operator."
            fail(session, current, Fail(JobErrorCode.TRAINER_CRASHED, message), now=services.clock())


def _fail(services: WorkerServices, job: JobRow, failure: Fail) -> None:
    failure = replace(failure, message=named(failure.message, failure.param, mixed_in_files(job)))
    report = DataReport.of_failure(failure, _pii_policy(services, job))
    with owned(services.database, job) as (session, current):
        if report is not None:
            report_of(session, current).data_gate = report.model_dump(mode="json")
        fail(session, current, failure, now=services.clock())


def _queue_or_fail(services: WorkerServices, job: JobRow, report: CheckReport) -> None:
    """Go by what was found, and keep the report, in one transaction."""
    pii = services.check_directory(job).read_check_spec().pii
    data = DataReport.from_report(report, pii)
    mixed_in = mixed_in_files(job)
    failure = failure_of(report.findings, mixed_in)
    failure = failure or _find_unservable(services, job, report)
    outlook = None if failure is not None else _look_ahead(services, job, report)
    if outlook is not None and (lack := _lack_of_disk(services, outlook)) is not None:
        failure = Fail(JobErrorCode.DISK_FULL, lack)
    if outlook is not None and outlook.judgement.refusal is not None:
        failure = Fail(JobErrorCode.OUT_OF_MEMORY, outlook.judgement.refusal.message())
    now = services.clock()
    with owned(services.database, job) as (session, current):
        found = report_of(session, current)
        found.data_gate = data.model_dump(mode="json")
        found.estimate = None if outlook is None else outlook.estimate.model_dump(mode="json")
        for event in (*warnings(report.findings, mixed_in), *selection_events(report.selection)):
            add_event(session, current, event, now=now)
        if failure is not None or outlook is None:
            fail(session, current, failure or base_not_offered(job), now=now)
            return
        _settle(current, outlook, pii, report.selection_sha256)
        for event in _on_how_it_runs(current, outlook):
            add_event(session, current, event, now=now)
        foretell(session, current, report, now=now)
        move(current, JobStatus.QUEUED)
        add_event(session, current, NewEvent("Files validated, moving job to queued state"), now=now)


def _lack_of_disk(services: WorkerServices, outlook: "_Outlook") -> str | None:
    if not outlook.resolved.trains_all:
        return None
    return find_lack_of_disk(
        outlook.estimate.base_parameters,
        keeps_best=outlook.resolved.early_stopping_patience is not None,
        free_bytes=shutil.disk_usage(services.settings.home).free,
    )


@dataclass(frozen=True)
class _Outlook:
    """What a job that can be queued will come to."""

    resolved: ResolvedHyperparameters
    judgement: Judgement
    planned: Planned
    estimate: Estimate
    served_in: Quantization | None  # what the base's engine makes of it


def _look_ahead(services: WorkerServices, job: JobRow, report: CheckReport) -> _Outlook | None:
    """None if the operator has taken the base away since."""
    base = services.base_of(job)
    if base is None:
        return None
    lora = {} if job.parent_model is None else read_lora(services.check_directory(job).parent)
    requested, on_gpu = job.requested_hyperparameters, services.planning.device == "cuda"
    method, max_rank = method_name(job.method), services.planning.max_rank
    resolved = resolve_report(report, requested, base, lora, method=method, on_gpu=on_gpu, max_rank=max_rank)
    planning = replace(services.planning, measured=measured_runs(services.database, base.name))
    wanted = wanted_quantization(requested, base.serve_quantized, form_of_files(base))
    judgement = judge(report, resolved, wanted, planning, method=method)
    planned = Planned(
        memory=judgement.plan,
        needed_bytes=0 if judgement.memory is None else judgement.memory.needed,
        longest_tokens=longest_after_cutting(report, resolved, method),
    )
    estimate = build_estimate(report, resolved, judgement, planning, method=method)
    return _Outlook(resolved, judgement, planned, estimate, base.serve_quantized)


def _find_unservable(services: WorkerServices, job: JobRow, report: CheckReport) -> Fail | None:
    """Hold the adapter against the base's layers, which may not have been known when the job was created."""
    if asked_adapter(job.requested_hyperparameters).type == FULL:
        return None
    base = services.base_of(job)
    shape = None if job.parent_model is None else read_lora(services.check_directory(job).parent)
    parent = None if shape is None else Parent(str(job.parent_model), shape)
    found = route_of(
        wanted_of(
            job.requested_hyperparameters,
            Base(report.base_layers, served_in=None if base is None else base.serve_quantized),
            max_rank=services.planning.max_rank,
            parent=parent,
        )
    )
    if not isinstance(found, Refusal):
        return None
    return Fail(JobErrorCode.MODEL_NOT_SERVABLE, found.message, f"adapter.{found.option}")


def _on_how_it_runs(job: JobRow, outlook: _Outlook) -> Iterator[NewEvent]:
    requested = job.requested_hyperparameters
    for sentence in practice.warn(
        requested, outlook.resolved, outlook.estimate.total_steps, method=method_name(job.method)
    ):
        yield NewEvent(sentence, EventLevel.WARN)
    if outlook.planned.memory.quantization is not None and wanted_quantization(requested) == "auto":
        yield NewEvent(_IN_4_BITS if outlook.served_in is None else _AS_SERVED)
    if outlook.resolved.lora_variant != "lora":
        yield NewEvent(
            f"What is trained is a '{outlook.resolved.lora_variant}' adapter. It is published as a plain LoRA, which "
            "engines serve, and only if that does what was trained."
        )


def _settle(job: JobRow, outlook: _Outlook, pii: PiiPolicy, selection_sha256: str | None) -> None:
    """Write what the job will come to into its row."""
    job.hyperparameters = outlook.resolved.shown(outlook.planned.memory.quantization)
    job.training_settings = asdict(outlook.resolved) | {"pii": pii} | _selection_setting(job, selection_sha256)
    keep_planned(job, outlook.planned)
    job.n_examples = outlook.estimate.training.examples
    job.total_steps = outlook.estimate.total_steps
    job.crashes = 0
    job.stage = Stage.START
    job.run_handle = None


def _selection_setting(job: JobRow, sha256: str | None) -> dict[str, Any]:
    wanted = wanted_selection(job)
    return {} if wanted is None else {"selection": wanted.model_dump(mode="json"), "selection_sha256": sha256}


def _pii_policy(services: WorkerServices, job: JobRow) -> PiiPolicy:
    """The job's own, or else the operator's."""
    return (job.data_options or {}).get("pii") or services.settings.pii_policy
