"""What placing goes by, read in one transaction, and the admission of a job by it."""

from collections.abc import Sequence

from sqlmodel import Session

from server.db.tables import JobRow, ModelImportRow
from server.fine_tuning.estimates.planned import planned_of
from server.fine_tuning.full_models import read_engine_sizes
from server.fine_tuning.leases import imports_in_progress, rows_that_need_a_worker
from server.fine_tuning.stages import Stage
from server.launchers.launcher import NoCapacity
from server.placement.facts import Holder, JobFacts, Policy, Turn
from server.placement.plan import Facts, Plan, plan
from server.placement.repository import read_engine_facts, read_turn, write_turn
from server.placement.sizing import Placement
from server.vocabulary import ImportStage, JobStatus


def read_facts(session: Session, placement: Placement, now: float, jobs: Sequence[JobFacts] | None = None) -> Facts:
    """`jobs`: as the caller knows them; None: as their rows are."""
    if jobs is None:
        jobs = [job_facts(job) for job in rows_that_need_a_worker(session)]
    if not placement.on_gpu:  # imports are looked at in main memory
        jobs = [*jobs, *(import_facts(row) for row in imports_in_progress(session))]
    sizes = read_engine_sizes(session, placement.sizes)
    return Facts(read_engine_facts(session, sizes, now), jobs, read_turn(session))


def decide(placement: Placement, facts: Facts, now: float) -> Plan:
    return plan(placement.policy, placement.resources, facts, placement.patience, now)


def admit(session: Session, job: JobRow, placement: Placement, now: float) -> None:
    """Give a job its slot and its device, in the transaction in which it starts.

    Raises:
        NoCapacity: it was its turn when it was looked at, and is not any more.
    """
    decided = decide(placement, read_facts(session, placement, now), now)
    start = next((start for start in decided.start_jobs if start.job_id == job.id), None)
    if start is None:
        raise NoCapacity("it is not the job's turn any more")
    if placement.policy is Policy.SEPARATE:
        job.gpu = start.device
    if placement.policy is Policy.YIELD:
        write_turn(session, Turn(Holder.JOBS, decided.turn.since, used=True))


def admit_import(session: Session, row: ModelImportRow, placement: Placement, now: float) -> None:
    """Let a trainer look at an import's adapter, in the transaction in which the import says so.

    Raises:
        NoCapacity: there is no memory for it now, or it is the engines' turn.
    """
    if not placement.on_gpu:
        decided = decide(placement, read_facts(session, placement, now), now)
        if all(start.job_id != row.id for start in decided.start_jobs):
            raise NoCapacity("the import waits for memory")
        if placement.policy is Policy.YIELD:
            write_turn(session, Turn(Holder.JOBS, decided.turn.since, used=True))
    row.stage = ImportStage.LOOKING


def import_facts(row: ModelImportRow) -> JobFacts:
    return JobFacts(
        row.id,
        row.project_id,
        row.seq,
        row.needed_bytes,
        needs_slot=False,
        created_at=row.created_at,
        waits=row.stage == ImportStage.WAITING,
        has_slot=row.stage != ImportStage.WAITING,
        holds_memory=row.stage == ImportStage.LOOKING,
    )


def job_facts(job: JobRow) -> JobFacts:
    """Any job that is not done with: some only have a run that is not gone yet."""
    is_running = job.status == JobStatus.RUNNING
    has_a_run = job.stage != Stage.CHECK and job.run_handle is not None
    return JobFacts(
        job.id,
        job.project_id,
        job.seq,
        planned_of(job).needed_bytes,
        created_at=job.created_at,
        not_before=job.not_before,
        waits=job.status == JobStatus.QUEUED and job.stage == Stage.START,
        has_slot=is_running,
        holds_memory=has_a_run or (is_running and job.stage != Stage.PUBLISH),
        device=job.gpu,
    )
