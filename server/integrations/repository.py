"""All SQL about integrations."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import col, select

from server.db.job_events import add_job_event
from server.db.project_session import ProjectSession
from server.db.system_session import SystemSession, system_session
from server.db.tables import IntegrationRow, JobEventRow, JobRow, ProjectRow
from server.vocabulary import EventLevel, EventType

_EVENTS_AT_ONCE = 1000


@dataclass(frozen=True)
class OpenIntegration:
    """One that has not been told of the job's end."""

    row: IntegrationRow
    job: JobRow
    wandb_api_key: str | None  # of the job's project


def has_wandb_key(session: ProjectSession) -> bool:
    project = session.exec(select(ProjectRow).where(ProjectRow.id == session.project_id)).one()
    return bool(project.wandb_api_key)


def list_open(database: Engine) -> list[OpenIntegration]:
    """Oldest first, over all projects."""
    statement = (
        select(IntegrationRow, JobRow, ProjectRow)
        .join(JobRow, col(JobRow.id) == col(IntegrationRow.job_id))
        .join(ProjectRow, col(ProjectRow.id) == col(IntegrationRow.project_id))
        .where(col(IntegrationRow.is_finished).is_(False))
        .order_by(col(IntegrationRow.id))
    )
    with system_session(database) as session:
        return [OpenIntegration(row, job, project.wandb_api_key) for row, job, project in session.exec(statement)]


def metrics_after(database: Engine, job_id: str, seq: int) -> Sequence[JobEventRow]:
    """The job's next metrics events, in the order of their steps."""
    statement = select(JobEventRow).where(
        JobEventRow.job_id == job_id, JobEventRow.type == EventType.METRICS, col(JobEventRow.seq) > seq
    )
    with system_session(database) as session:
        return session.exec(statement.order_by(col(JobEventRow.seq)).limit(_EVENTS_AT_ONCE)).all()


def has_metrics(database: Engine, job_id: str) -> bool:
    statement = select(JobEventRow.seq).where(JobEventRow.job_id == job_id, JobEventRow.type == EventType.METRICS)
    with system_session(database) as session:
        return session.exec(statement.limit(1)).first() is not None


def finish(database: Engine, found: OpenIntegration, *, warning: str | None = None, now: float) -> None:
    """Never look at it again; say so to the client where there is something to say."""
    with system_session(database, write=True) as session:
        row = session.get_one(IntegrationRow, found.row.id)
        row.is_finished = True
        _warn(session, found.job, warning, now)


def note_failure(
    database: Engine, found: OpenIntegration, *, not_before: float, warning: str | None, now: float
) -> None:
    with system_session(database, write=True) as session:
        row = session.get_one(IntegrationRow, found.row.id)
        row.failures += 1
        row.not_before = not_before
        _warn(session, found.job, warning, now)


def _warn(session: SystemSession, job: JobRow, warning: str | None, now: float) -> None:
    if warning is not None:
        add_job_event(session, job, warning, now=now, level=EventLevel.WARN)
