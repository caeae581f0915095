"""What placing goes by, read in one transaction, and the admission of a job by it."""

from collections.abc import Sequence

from sqlmodel import Session

from server.db.tables import JobRow
from server.fine_tuning.estimates.planned import planned_of
from server.fine_tuning.full_models import read_engine_sizes
from server.fine_tuning.leases import rows_that_need_a_worker
from server.fine_tuning.stages import Stage
from server.launchers.launcher import NoCapacity
from server.placement.facts import Holder, JobFacts, Policy, Turn
from server.placement.plan import Facts, Plan, plan
from server.placement.repository import read_engine_facts, read_turn, write_turn
from server.placement.sizing import Placement
from server.vocabulary import JobStatus


def read_facts(session: Session, placement: Placement, now: float, jobs: Sequence[JobFacts] | None = None) -> Facts:
    """`jobs`: as the caller knows them; None: as their rows are."""
    if jobs is None:
        jobs = [job_facts(job) for job in rows_that_need_a_worker(session)]
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


def job_facts(job: JobRow) -> JobFacts:
    """Any job that is not done with: some only have a run that is not gone yet."""
    is_running = job.status == JobStatus.RUNNING
    has_a_run = job.stage != Stage.CHECK and job.run_handle is not None
    return JobFacts(
        job.id,
        job.project_id,
        job.seq,
        planned_of(job).needed_bytes,
        not_before=job.not_before,
        waits=job.status == JobStatus.QUEUED and job.stage == Stage.START,
        has_slot=is_running,
        holds_memory=has_a_run or (is_running and job.stage != Stage.PUBLISH),
        device=job.gpu,
    )
