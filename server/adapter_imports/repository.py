"""All SQL about imports of adapters."""

from collections.abc import Sequence

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from inference.engine import AdapterRef
from server.db.project_session import ProjectSession
from server.db.system_session import system_session
from server.db.tables import ModelImportRow, ProjectRow
from server.fine_tuning.placing import admit_import
from server.models.repository import add_imported_model
from server.placement.sizing import Placement
from server.vocabulary import ImportStage, ImportStatus


def slug_of_project(session: ProjectSession) -> str:
    return session.exec(select(ProjectRow).where(ProjectRow.id == session.project_id)).one().slug


def find_import(session: Session, import_id: str) -> ModelImportRow | None:
    return session.get(ModelImportRow, import_id)


def count_unfinished(session: ProjectSession) -> int:
    query = select(func.count(col(ModelImportRow.id))).where(ModelImportRow.status == ImportStatus.IN_PROGRESS)
    return session.exec(query).one()


def list_unfinished(database: Engine) -> Sequence[ModelImportRow]:
    """Oldest first, over all projects."""
    query = select(ModelImportRow).where(ModelImportRow.status == ImportStatus.IN_PROGRESS)
    with system_session(database) as session:
        return session.exec(query.order_by(col(ModelImportRow.seq))).all()


def begin_to_look(database: Engine, found: ModelImportRow, placement: Placement, *, now: float) -> None:
    """Raises: NoCapacity: it has to wait."""
    with system_session(database, write=True) as session:
        row = session.get_one(ModelImportRow, found.id)
        admit_import(session, row, placement, now)
        session.add(row)


def move_to(database: Engine, found: ModelImportRow, stage: ImportStage) -> None:
    with system_session(database, write=True) as session:
        row = session.get_one(ModelImportRow, found.id)
        row.stage = stage
        session.add(row)


def succeed(database: Engine, found: ModelImportRow, adapter: AdapterRef, *, now: float) -> None:
    """Make the adapter a model and end the import, at once."""
    with system_session(database, write=True) as session:
        row = session.get_one(ModelImportRow, found.id)
        row.status, row.finished_at = ImportStatus.SUCCEEDED, int(now)
        session.add(row)
        add_imported_model(session, row.project_id, adapter, now=now)


def fail(database: Engine, found: ModelImportRow, *, code: str, message: str, now: float) -> None:
    with system_session(database, write=True) as session:
        row = session.get_one(ModelImportRow, found.id)
        row.status, row.finished_at = ImportStatus.FAILED, int(now)
        row.error_code, row.error_message = code, message
        session.add(row)
