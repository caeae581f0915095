"""All SQL about fine-tuned models. A deleted one keeps its row, so that its name is never used again."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from server.db.tables import FineTunedModelRow, JobRow


def add_fine_tuned_model(
    session: Session, job: JobRow, *, name: str, directory: str, rank: int, now: float, step: int | None = None
) -> FineTunedModelRow:
    """Make an adapter that is published, and has answered, a model of the job's project.

    `directory` is relative to the settings' `adapters`.
    """
    row = FineTunedModelRow(
        name=name,
        project_id=job.project_id,
        job_id=job.id,
        base_model=job.base_model,
        directory=directory,
        rank=rank,
        created_at=int(now),
        step=step,
    )
    session.add(row)
    return row


def find_model(session: Session, name: str) -> FineTunedModelRow | None:
    row = session.get(FineTunedModelRow, name)
    return None if row is None or row.deleted_at is not None else row


def list_models(session: Session) -> list[FineTunedModelRow]:
    """Oldest first."""
    query = select(FineTunedModelRow).where(col(FineTunedModelRow.deleted_at).is_(None))
    return list(session.exec(query.order_by(col(FineTunedModelRow.seq))))


def list_deleted(session: Session) -> list[FineTunedModelRow]:
    return list(session.exec(select(FineTunedModelRow).where(col(FineTunedModelRow.deleted_at).is_not(None))))


def list_directories_in_use(session: Session, among: Iterable[str]) -> set[str]:
    """Those of the directories that a model which is not deleted has its adapter in."""
    query = select(FineTunedModelRow.directory).where(
        col(FineTunedModelRow.deleted_at).is_(None), col(FineTunedModelRow.directory).in_(list(among))
    )
    return set(session.exec(query))
