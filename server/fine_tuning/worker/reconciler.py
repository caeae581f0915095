"""Brings jobs and the world into agreement: load → act → apply, forever."""

import errno
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event

from sqlalchemy.exc import DBAPIError

from inference.engine import EngineUnavailable
from server.db.tables import JobRow
from server.fine_tuning.job_changes import fail
from server.fine_tuning.leases import (
    LeaseLost,
    claim_all,
    jobs_that_need_a_worker,
    live_model_directories,
    models_to_purge,
    names_being_imported,
    owned,
)
from server.fine_tuning.lifecycle import Fail, is_terminal
from server.fine_tuning.placing import decide, job_facts, read_facts
from server.fine_tuning.publishing import stage as publishing
from server.fine_tuning.running import stage as training
from server.fine_tuning.stages import Stage
from server.fine_tuning.validating import stage as validating
from server.fine_tuning.worker import pausing
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.launcher import NoCapacity, RunHandle
from server.placement.facts import JobFacts
from server.placement.repository import placing
from server.storage.blob_store import BlobStoreFull
from server.vocabulary import JobErrorCode, JobStatus

_LOG = logging.getLogger("tunesmith.worker")
_POLL_S = 0.2
_PURGE_EVERY_S = 5.0
_JOBS_AT_ONCE = 8  # acted on at the same time; one slow act never delays another job's cancelling
_FAULTS_ALLOWED = 5  # of our own in a row, before the job is failed
_FAULT_BACK_OFF_S = 2.0

_ACTS: Mapping[tuple[JobStatus, str | None], Callable[[WorkerServices, JobRow], None]] = {
    (JobStatus.VALIDATING_FILES, None): validating.begin,
    (JobStatus.VALIDATING_FILES, Stage.VALIDATE): validating.validate,
    (JobStatus.VALIDATING_FILES, Stage.CHECK): validating.follow_check,
    (JobStatus.QUEUED, Stage.START): training.begin_attempt,
    (JobStatus.RUNNING, Stage.LAUNCH): training.launch,
    (JobStatus.RUNNING, Stage.TRAIN): training.follow,
    (JobStatus.RUNNING, Stage.RETRY): training.retry,
    (JobStatus.RUNNING, Stage.PUBLISH): publishing.publish_result,
    (JobStatus.PAUSED, Stage.PAUSE): pausing.wind_down,
    (JobStatus.QUEUED, Stage.PAUSE): pausing.wind_down,  # resumed before the run was stopped
}


class Reconciler:
    """One worker's view of all jobs. What it knows is in the database and in run directories: a new one goes on."""

    def __init__(self, services: WorkerServices) -> None:
        self._services = services
        self._pool = ThreadPoolExecutor(_JOBS_AT_ONCE, thread_name_prefix="job")
        self._acting: dict[str, Future[None]] = {}
        self._faults: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._purge_at = 0.0

    def run(self, stop: Event) -> None:
        """Work until told to stop; then stop the runs, so that they save what they have."""
        self.take_over()
        while not stop.wait(_POLL_S):
            self.tick()
        self._pool.shutdown(wait=True)
        for job in jobs_that_need_a_worker(self._services.database):
            if job.run_handle is not None and job.stage in (Stage.TRAIN, Stage.PAUSE):
                handle = RunHandle.from_json(job.run_handle)
                self._services.launcher.stop(handle, self._services.settings.stop_grace_s)

    def take_over(self) -> None:
        """Become the owner of all jobs, and delete what a former worker left half-done."""
        claim_all(self._services.database)
        self._services.settings.adapters.mkdir(parents=True, exist_ok=True)
        self._services.settings.runs.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def tick(self) -> None:
        """Act once on every job that is not being acted on."""
        now = self._services.clock()
        jobs = jobs_that_need_a_worker(self._services.database)
        self._acting = {job_id: future for job_id, future in self._acting.items() if not future.done()}
        starting = self._choose(jobs, now)
        for job in jobs:
            waits = self._not_before.get(job.id, 0.0) > now
            if job.id not in self._acting and not waits and (not _waits_for_its_turn(job) or job.id in starting):
                self._acting[job.id] = self._pool.submit(self._act_safely, job)
        if now >= self._purge_at and "" not in self._acting:
            self._purge_at = now + _PURGE_EVERY_S
            self._acting[""] = self._pool.submit(self._purge)

    def settle(self) -> None:
        """Wait for the acts that are going on."""
        for future in list(self._acting.values()):
            future.result()

    def _choose(self, jobs: Sequence[JobRow], now: float) -> set[str]:
        facts = [self._facts(job) for job in jobs]
        placement = self._services.placement
        with placing(self._services.database) as session:
            known = read_facts(session, placement, now, facts)
        return {start.job_id for start in decide(placement, known, now).start_jobs}

    def _facts(self, job: JobRow) -> JobFacts:
        """As its row says, and as it is here: one that is just being started does not wait any more."""
        facts = job_facts(job)
        if facts.waits and job.id in self._acting:
            return replace(facts, waits=False, has_slot=True, holds_memory=True)
        return replace(facts, not_before=max(facts.not_before, self._not_before.get(job.id, 0.0)))

    def _act_safely(self, job: JobRow) -> None:
        """One job's fault is not another's: log it, wait, try again, and in the end fail the job."""
        try:
            self._act(job)
        except LeaseLost:
            return  # it ended, or is another worker's: the next tick sees it as it is
        except (EngineUnavailable, NoCapacity):
            self._not_before[job.id] = self._services.clock() + 1.0
        except Exception as fault:
            self._on_fault(job, fault)
        else:
            self._faults.pop(job.id, None)

    def _act(self, job: JobRow) -> None:
        if is_terminal(job.status):
            self._clean_up(job)
        else:
            _ACTS[job.status, job.stage](self._services, job)

    def _clean_up(self, job: JobRow) -> None:
        """After the end of a job: stop its run if there is one, delete all it held but its logs."""
        may_run = job.run_handle is not None or job.stage in (Stage.LAUNCH, Stage.PAUSE)
        handle = training.find_run(self._services, job) if may_run else None
        if handle is not None:
            self._services.launcher.stop(handle, 0.0)  # nothing it could still save is kept
        self._strip_runs(job.id)
        publishing.discard_pending(self._services, job)
        with owned(self._services.database, job, also_changed=True) as (_, current):
            current.stage = None
            current.run_handle = None
            current.pending_model = None

    def _strip_runs(self, job_id: str) -> None:
        for attempt in (self._services.settings.runs / job_id).glob("*"):
            for path in attempt.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "trainer.log":
                    path.unlink()

    def _on_fault(self, job: JobRow, fault: Exception) -> None:
        self._faults[job.id] += 1
        self._not_before[job.id] = self._services.clock() + _FAULT_BACK_OFF_S
        # The type and place only: the message may quote a client's data.
        _LOG.error(
            "job %s: %s while acting on stage %s", job.id, type(fault).__name__, job.stage, exc_info=_place(fault)
        )
        if _is_of_the_machine(fault) or self._faults[job.id] < _FAULTS_ALLOWED or is_terminal(job.status):
            return
        message = "The service failed to work on this job. The operator finds the reason in worker.log."
        with owned(self._services.database, job) as (session, current):
            fail(session, current, Fail(JobErrorCode.INTERNAL_ERROR, message), now=self._services.clock())

    def _purge(self) -> None:
        for model in models_to_purge(self._services.database):
            try:
                publishing.purge(self._services, model)
            except EngineUnavailable:
                return

    def _sweep(self) -> None:
        """Delete adapters that no model stands for: a worker died between their files and their row."""
        known = live_model_directories(self._services.database)
        pending = {job.pending_model for job in jobs_that_need_a_worker(self._services.database) if job.pending_model}
        pending |= names_being_imported(self._services.database)
        deleted = {model.directory for model in models_to_purge(self._services.database)}
        for path in self._services.settings.adapters.iterdir():
            is_pending = any(f":{path.name}" in name for name in pending)
            if path.name not in known | deleted and not is_pending:
                shutil.rmtree(path, ignore_errors=True)


def _waits_for_its_turn(job: JobRow) -> bool:
    return job.status == JobStatus.QUEUED and job.stage == Stage.START


def _is_of_the_machine(fault: Exception) -> bool:
    """Whether the fault is the machine's and passes (a full disk, a busy database): jobs wait, they do not fail."""
    full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(fault, BlobStoreFull | DBAPIError)


def _place(fault: Exception) -> bool:
    return not isinstance(fault, ValueError)  # a value's error may quote the value
