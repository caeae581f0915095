"""All SQL of the import. Ids are unique over all projects, so whether one is taken is asked across them."""

from collections.abc import Sequence

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from server.db.project_session import ProjectSession
from server.db.system_session import system_session
from server.db.tables import CheckpointRow, FileRow, JobEventRow, JobRow, ProjectRow

_SECONDS = 2**32  # of unix time, and beyond any
_IN_ONE_SECOND = 2**20


def find_project(database: Engine, name: str) -> ProjectRow | None:
    with system_session(database) as session:
        return session.exec(select(ProjectRow).where(ProjectRow.name == name)).first()


def owner_of(database: Engine, table: type[FileRow] | type[JobRow], object_id: str) -> str | None:
    """The project that has an object of this id; None: nobody."""
    with system_session(database) as session:
        row = session.get(table, object_id)
    return None if row is None else row.project_id


def taken_ids(database: Engine, event_ids: Sequence[str], checkpoint_ids: Sequence[str]) -> set[str]:
    """Those of the ids that an event or a checkpoint of any project has."""
    found: set[str] = set()
    with system_session(database) as session:
        for start in range(0, len(event_ids), 500):
            some = event_ids[start : start + 500]
            found.update(session.exec(select(JobEventRow.id).where(col(JobEventRow.id).in_(some))))
        found.update(session.exec(select(CheckpointRow.id).where(col(CheckpointRow.id).in_(checkpoint_ids))))
    return found


def list_file_ids(session: ProjectSession) -> set[str]:
    return set(session.exec(select(FileRow.id)))


def list_job_ids(session: ProjectSession) -> set[str]:
    return set(session.exec(select(JobRow.id)))


def list_imported_jobs(session: ProjectSession) -> Sequence[JobRow]:
    """Oldest first."""
    return session.exec(select(JobRow).where(col(JobRow.origin).is_not(None)).order_by(col(JobRow.seq))).all()


def list_repetitions(session: ProjectSession, job_id: str) -> Sequence[JobRow]:
    return session.exec(select(JobRow).where(JobRow.rerun_of == job_id)).all()


def place_in_history(session: Session, table: type[FileRow] | type[JobRow], created_at: int) -> int:
    """A `seq` for what was made elsewhere: in the order of its time, before everything that was made here.

    Within one second the order is that of importing.
    """
    first = (created_at - _SECONDS) * _IN_ONE_SECOND
    last = session.exec(
        select(func.max(col(table.seq))).where(col(table.seq) >= first, col(table.seq) < first + _IN_ONE_SECOND)
    ).one()
    return first if last is None else last + 1
