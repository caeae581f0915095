"""All SQL of clients' requests about jobs, events and checkpoints. Lists are newest first."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from server.db.tables import CheckpointRow, JobEventRow, JobReportRow, JobRow


def find_job(session: Session, job_id: str) -> JobRow | None:
    return session.get(JobRow, job_id)


def list_jobs(
    session: Session, *, before_seq: int | None, limit: int, metadata: Mapping[str, str] | None
) -> list[JobRow]:
    """The jobs made before `before_seq` whose metadata has each of these pairs; None: those that have no metadata."""
    query = select(JobRow).order_by(col(JobRow.seq).desc()).limit(limit)
    if before_seq is not None:
        query = query.where(col(JobRow.seq) < before_seq)
    if metadata is None:
        query = query.where(col(JobRow.job_metadata).is_(None))
    for key, value in (metadata or {}).items():
        query = query.where(_metadata(key) == value)
    return list(session.exec(query))


def find_report(session: Session, job_id: str) -> JobReportRow | None:
    return session.get(JobReportRow, job_id)


def find_event(session: Session, job_id: str, event_id: str) -> JobEventRow | None:
    query = select(JobEventRow).where(JobEventRow.id == event_id, JobEventRow.job_id == job_id)
    return session.exec(query).first()


def list_events(session: Session, job_id: str, *, before_seq: int | None, limit: int) -> list[JobEventRow]:
    query = select(JobEventRow).where(JobEventRow.job_id == job_id).order_by(col(JobEventRow.seq).desc()).limit(limit)
    if before_seq is not None:
        query = query.where(col(JobEventRow.seq) < before_seq)
    return list(session.exec(query))


def find_checkpoint(session: Session, job_id: str, checkpoint_id: str) -> CheckpointRow | None:
    query = select(CheckpointRow).where(CheckpointRow.id == checkpoint_id, CheckpointRow.job_id == job_id)
    return session.exec(query).first()


def list_checkpoints(session: Session, job_id: str, *, before_step: int | None, limit: int) -> list[CheckpointRow]:
    query = select(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(col(CheckpointRow.step).desc())
    if before_step is not None:
        query = query.where(col(CheckpointRow.step) < before_step)
    return list(session.exec(query.limit(limit)))


def _metadata(key: str) -> ColumnElement[str]:
    """The value under a key, whatever characters are in it; NULL if it is not there."""
    pairs = func.json_each(col(JobRow.job_metadata)).table_valued("key", "value")
    return select(pairs.c.value).where(pairs.c.key == key).scalar_subquery()
