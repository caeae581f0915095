"""All SQL of the operator's commands, which see every project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import col, select

from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow, JobEventRow, JobRow, ProjectRow, WebhookDeliveryRow
from server.vocabulary import DeliveryStatus


@dataclass(frozen=True)
class JobListing:
    job: JobRow
    project: str


@dataclass(frozen=True)
class ModelListing:
    model: FineTunedModelRow
    project: str


@dataclass(frozen=True)
class WebhookListing:
    delivery: WebhookDeliveryRow
    project: str


@dataclass(frozen=True)
class JobNews:
    """A job and its events since some other, as they were at one moment."""

    job: JobRow
    events: Sequence[JobEventRow]  # oldest first


def list_jobs(database: Engine) -> list[JobListing]:
    """Newest first."""
    statement = (
        select(JobRow, ProjectRow)
        .join(ProjectRow, col(ProjectRow.id) == col(JobRow.project_id))
        .order_by(col(JobRow.seq).desc())
    )
    with system_session(database) as session:
        return [JobListing(job, project.name) for job, project in session.exec(statement)]


def find_job(database: Engine, job_id: str) -> JobRow | None:
    with system_session(database) as session:
        return session.get(JobRow, job_id)


def list_models(database: Engine) -> list[ModelListing]:
    """Newest first; those that were deleted are not among them."""
    statement = (
        select(FineTunedModelRow, ProjectRow)
        .join(ProjectRow, col(ProjectRow.id) == col(FineTunedModelRow.project_id))
        .where(col(FineTunedModelRow.deleted_at).is_(None))
        .order_by(col(FineTunedModelRow.seq).desc())
    )
    with system_session(database) as session:
        return [ModelListing(model, project.name) for model, project in session.exec(statement)]


def list_webhook_deliveries(database: Engine, *, status: str | None, limit: int) -> list[WebhookListing]:
    """Newest first, of one status or of all."""
    statement = (
        select(WebhookDeliveryRow, ProjectRow)
        .join(ProjectRow, col(ProjectRow.id) == col(WebhookDeliveryRow.project_id))
        .order_by(col(WebhookDeliveryRow.seq).desc())
        .limit(limit)
    )
    if status is not None:
        statement = statement.where(WebhookDeliveryRow.status == DeliveryStatus(status))
    with system_session(database) as session:
        return [WebhookListing(delivery, project.name) for delivery, project in session.exec(statement)]


def find_model(database: Engine, name: str) -> FineTunedModelRow | None:
    """None for one that was deleted, too."""
    with system_session(database) as session:
        row = session.get(FineTunedModelRow, name)
        return None if row is None or row.deleted_at is not None else row


def find_news(database: Engine, job_id: str, *, after_seq: int) -> JobNews | None:
    """None if there is no such job."""
    statement = select(JobEventRow).where(JobEventRow.job_id == job_id, col(JobEventRow.seq) > after_seq)
    with system_session(database) as session:
        job = session.get(JobRow, job_id)
        return None if job is None else JobNews(job, session.exec(statement.order_by(col(JobEventRow.seq))).all())


def list_projects(database: Engine) -> Sequence[ProjectRow]:
    """By name."""
    with system_session(database) as session:
        return session.exec(select(ProjectRow).order_by(col(ProjectRow.name))).all()


def set_wandb_key(database: Engine, project: str, key: str | None) -> bool:
    """Set the API key under which a project's jobs are logged at Weights & Biases; None takes it away.

    False if there is no such project.
    """
    with system_session(database, write=True) as session:
        row = session.exec(select(ProjectRow).where(ProjectRow.name == project)).first()
        if row is None:
            return False
        row.wandb_api_key = key
        session.add(row)
        return True


def set_limits(database: Engine, project: str, changes: Mapping[str, int | None]) -> ProjectRow | None:
    """Set limits of a project by their columns; None if there is no such project."""
    with system_session(database, write=bool(changes)) as session:
        row = session.exec(select(ProjectRow).where(ProjectRow.name == project)).first()
        if row is not None and changes:
            for column, limit in changes.items():
                setattr(row, column, limit)
            session.add(row)
        return row
