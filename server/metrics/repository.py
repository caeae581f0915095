"""All SQL of /metrics: jobs, over all projects."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, func
from sqlmodel import col, select

from server.db.system_session import system_session
from server.db.tables import JobEventRow, JobRow
from server.vocabulary import EventType, JobStatus


@dataclass(frozen=True)
class RunningJob:
    id: str
    step: int
    tokens_per_s: float | None  # None: no step is done yet
    train_loss: float | None


def count_jobs(database: Engine) -> Mapping[JobStatus, int]:
    statement = select(JobRow.status, func.count()).group_by(col(JobRow.status))
    with system_session(database) as session:
        return {JobStatus(status): n for status, n in session.exec(statement)}


def list_running(database: Engine) -> list[RunningJob]:
    """With the training loss of their last step."""
    with system_session(database) as session:
        found = []
        for job in session.exec(select(JobRow).where(JobRow.status == JobStatus.RUNNING)):
            statement = (
                select(JobEventRow.data)
                .where(JobEventRow.job_id == job.id, JobEventRow.type == EventType.METRICS)
                .order_by(col(JobEventRow.seq).desc())
                .limit(1)
            )
            data = session.exec(statement).first() or {}
            found.append(RunningJob(job.id, job.last_step, job.training_tokens_per_s, data.get("train_loss")))
    return found
