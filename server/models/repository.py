"""All SQL about fine-tuned models and aliases. A deleted model keeps its row, so that its name is never used again."""

from collections.abc import Iterable

from sqlmodel import Session, col, delete, select

from inference.engine import AdapterRef
from server.db.project_session import ProjectSession
from server.db.tables import CheckpointPermissionRow, FineTunedModelRow, JobRow, ModelAliasRow


def add_fine_tuned_model(
    session: Session, job: JobRow, adapter: AdapterRef, *, now: float, step: int | None = None
) -> FineTunedModelRow:
    """Make an adapter that is published a model of the job's project."""
    return _add_model(session, adapter, job.project_id, job_id=job.id, now=now, step=step)


def add_imported_model(session: Session, project_id: str, adapter: AdapterRef, *, now: float) -> FineTunedModelRow:
    """Make an adapter that no job made a model of a project."""
    return _add_model(session, adapter, project_id, job_id=None, now=now, step=None)


def _add_model(
    session: Session, adapter: AdapterRef, project_id: str, *, job_id: str | None, now: float, step: int | None
) -> FineTunedModelRow:
    """A row of a published adapter.

    The name of its directory is all that is kept of where it lies: that is in the settings' `adapters`.
    """
    row = FineTunedModelRow(
        name=adapter.name,
        project_id=project_id,
        job_id=job_id,
        base_model=adapter.base_model,
        directory=adapter.directory.name,
        rank=adapter.rank,
        is_full=adapter.is_full,
        sha256=adapter.sha256,
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


def list_full(session: Session) -> list[FineTunedModelRow]:
    """Models with engines of their own."""
    query = select(FineTunedModelRow).where(col(FineTunedModelRow.is_full), col(FineTunedModelRow.deleted_at).is_(None))
    return list(session.exec(query))


def list_deleted_full(session: Session, *, among: Iterable[str]) -> list[FineTunedModelRow]:
    query = select(FineTunedModelRow).where(
        col(FineTunedModelRow.is_full),
        col(FineTunedModelRow.deleted_at).is_not(None),
        col(FineTunedModelRow.name).in_(list(among)),
    )
    return list(session.exec(query))


def list_deleted(session: Session) -> list[FineTunedModelRow]:
    return list(session.exec(select(FineTunedModelRow).where(col(FineTunedModelRow.deleted_at).is_not(None))))


def list_without_hash(session: Session) -> list[FineTunedModelRow]:
    """Models that an older version published, which are not deleted."""
    query = select(FineTunedModelRow).where(
        col(FineTunedModelRow.sha256).is_(None), col(FineTunedModelRow.deleted_at).is_(None)
    )
    return list(session.exec(query))


def set_hash(session: Session, name: str, sha256: str | None) -> None:
    row = session.get(FineTunedModelRow, name)
    if row is not None:
        row.sha256 = sha256
        session.add(row)


def list_directories_in_use(session: Session, among: Iterable[str]) -> set[str]:
    """Those of the directories that a model which is not deleted has its adapter in."""
    query = select(FineTunedModelRow.directory).where(
        col(FineTunedModelRow.deleted_at).is_(None), col(FineTunedModelRow.directory).in_(list(among))
    )
    return set(session.exec(query))


def delete_permissions(session: Session, name: str) -> None:
    """Take back every permission to use a model."""
    session.exec(delete(CheckpointPermissionRow).where(col(CheckpointPermissionRow.model_name) == name))


def list_aliases(session: Session) -> list[ModelAliasRow]:
    """Oldest first."""
    return list(session.exec(select(ModelAliasRow).order_by(col(ModelAliasRow.id))))


def find_alias(session: ProjectSession, name: str) -> ModelAliasRow | None:
    return find_alias_of(session, session.project_id, name)


def find_alias_of(session: Session, project_id: str, name: str) -> ModelAliasRow | None:
    """In whichever session."""
    query = select(ModelAliasRow).where(ModelAliasRow.project_id == project_id, ModelAliasRow.name == name)
    return session.exec(query).first()


def set_alias(session: ProjectSession, name: str, target: str, *, now: float) -> ModelAliasRow:
    """Make a name of the project's stand for a model, whatever it stood for before. Judges neither name."""
    return set_alias_of(session, session.project_id, name, target, now=now)


def set_alias_of(session: Session, project_id: str, name: str, target: str, *, now: float) -> ModelAliasRow:
    """In whichever session."""
    row = find_alias_of(session, project_id, name) or ModelAliasRow(
        project_id=project_id, name=name, target=target, created_at=int(now)
    )
    row.target = target
    session.add(row)
    return row
