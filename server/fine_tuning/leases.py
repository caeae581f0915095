"""One owner per job: who claims, and how a write by a former owner is refused."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, union
from sqlmodel import Session, col, select

from server.db.system_session import SystemSession, system_session
from server.db.tables import (
    CheckpointRow,
    FileRow,
    FineTunedModelRow,
    JobCourseRow,
    JobEventRow,
    JobReportRow,
    JobRow,
    ModelImportRow,
    ProjectRow,
)
from server.fine_tuning.data_options import mixed_in_files
from server.fine_tuning.lifecycle import is_terminal
from server.vocabulary import ACTIVE_STATUSES, EventType, ImportStatus

_MEASURED_RUNS = 20


class LeaseLost(Exception):
    """The job is another worker's by now, or not what it was: what was to be written must not be."""


def claim_all(engine: Engine) -> None:
    """Make this worker the owner of every job that needs one; whoever owned it before can no longer write."""
    with system_session(engine, write=True) as session:
        for job in session.exec(select(JobRow).where(_needs_a_worker())):
            job.fence += 1


def jobs_that_need_a_worker(engine: Engine) -> Sequence[JobRow]:
    """Those that are on their way, and others whose run is not gone yet; oldest first."""
    with system_session(engine) as session:
        return rows_that_need_a_worker(session)


def rows_that_need_a_worker(session: Session) -> Sequence[JobRow]:
    return session.exec(select(JobRow).where(_needs_a_worker()).order_by(col(JobRow.seq))).all()


@contextmanager
def owned(engine: Engine, job: JobRow, *, also_changed: bool = False) -> Iterator[tuple[SystemSession, JobRow]]:
    """Open a transaction on the job as it is now, for its owner.

    Raises:
        LeaseLost: claimed by another worker since `job` was read; or, unless `also_changed`, ended, or given
            another status by a client (cancelled, paused, resumed).
    """
    with system_session(engine, write=True) as session:
        current = session.exec(select(JobRow).where(JobRow.id == job.id)).one_or_none()
        if current is None or current.fence != job.fence:
            raise LeaseLost(job.id)
        if not also_changed and (current.status != job.status or is_terminal(current.status)):
            raise LeaseLost(job.id)
        yield session, current


@dataclass(frozen=True)
class JobFiles:
    """The rows of a job's files; None for one that was deleted since."""

    training: FileRow | None
    validation: FileRow | None  # None too if the job has none
    mixed_in: list[FileRow | None]  # in the order in which the job names them


def find_files(engine: Engine, job: JobRow) -> JobFiles:
    with system_session(engine) as session:

        def find(file_id: str | None) -> FileRow | None:
            statement = select(FileRow).where(FileRow.id == file_id, FileRow.project_id == job.project_id)
            return session.exec(statement).one_or_none()

        mixed_in = [find(file_id) for file_id in mixed_in_files(job)]
        return JobFiles(find(job.training_file), find(job.validation_file), mixed_in)


def existing_files(engine: Engine, file_ids: Collection[str]) -> set[str]:
    """Those that have not been deleted."""
    with system_session(engine) as session:
        return set(session.exec(select(FileRow.id).where(col(FileRow.id).in_(file_ids))))


def get_project(engine: Engine, job: JobRow) -> ProjectRow:
    with system_session(engine) as session:
        return session.exec(select(ProjectRow).where(ProjectRow.id == job.project_id)).one()


def metrics_of(engine: Engine, job: JobRow) -> list[dict[str, object]]:
    """The data of the job's metrics events, in the order of their steps."""
    statement = select(JobEventRow).where(JobEventRow.job_id == job.id, JobEventRow.type == EventType.METRICS)
    with system_session(engine) as session:
        rows = session.exec(statement.order_by(col(JobEventRow.seq))).all()
    return [row.data or {} for row in rows]


def find_report(engine: Engine, job: JobRow) -> JobReportRow | None:
    """What was found in the job's data, estimated and measured; None if nothing was."""
    with system_session(engine) as session:
        return session.exec(select(JobReportRow).where(JobReportRow.job_id == job.id)).one_or_none()


def checkpoints_of(session: Session, job: JobRow) -> Sequence[CheckpointRow]:
    """Newest step first."""
    statement = select(CheckpointRow).where(CheckpointRow.job_id == job.id)
    return session.exec(statement.order_by(col(CheckpointRow.step).desc())).all()


def has_checkpoint(engine: Engine, job: JobRow, step: int) -> bool:
    with system_session(engine) as session:
        return any(row.step == step for row in checkpoints_of(session, job))


def report_of(session: Session, job: JobRow) -> JobReportRow:
    """The job's report, to be filled in; a new one if there was none."""
    found = session.exec(select(JobReportRow).where(JobReportRow.job_id == job.id)).one_or_none()
    if found is None:
        found = JobReportRow(job_id=job.id, project_id=job.project_id)
        session.add(found)
    return found


def find_course(session: Session, job: JobRow) -> JobCourseRow | None:
    return session.exec(select(JobCourseRow).where(JobCourseRow.job_id == job.id)).one_or_none()


def measured_runs(engine: Engine, base_model: str) -> list[dict[str, Any]]:
    """What the last runs on a base took, newest first, of whatever project: numbers of this machine, not of a job's."""
    statement = (
        select(JobReportRow.measured)
        .join(JobRow, col(JobRow.id) == col(JobReportRow.job_id))
        .where(JobRow.base_model == base_model, col(JobReportRow.measured).is_not(None))
        .order_by(col(JobRow.seq).desc())
        .limit(_MEASURED_RUNS)
    )
    with system_session(engine) as session:
        return [dict(measured) for measured in session.exec(statement) if measured is not None]


def find_model(session: Session, name: str) -> FineTunedModelRow | None:
    return session.exec(select(FineTunedModelRow).where(FineTunedModelRow.name == name)).one_or_none()


def get_model(engine: Engine, name: str) -> FineTunedModelRow:
    """A model of any project, deleted or not: whether a job may use it was decided when the job was made."""
    with system_session(engine) as session:
        return session.exec(select(FineTunedModelRow).where(FineTunedModelRow.name == name)).one()


def models_to_purge(engine: Engine) -> Sequence[FineTunedModelRow]:
    """Deleted models: closed to requests, with files that may still be there."""
    with system_session(engine) as session:
        # not IS NOT NULL, for which SQLite would scan the models that are not deleted
        return session.exec(select(FineTunedModelRow).where(col(FineTunedModelRow.deleted_at) > 0)).all()


def names_being_imported(engine: Engine) -> set[str]:
    """Of the models whose adapters lie there already, maybe, before their rows do."""
    with system_session(engine) as session:
        statement = select(ModelImportRow.model_name).where(ModelImportRow.status == ImportStatus.IN_PROGRESS)
        return set(session.exec(statement).all())


def imports_in_progress(session: Session) -> Sequence[ModelImportRow]:
    """Of adapters, over all projects."""
    return session.exec(select(ModelImportRow).where(ModelImportRow.status == ImportStatus.IN_PROGRESS)).all()


def live_model_directories(engine: Engine) -> set[str]:
    """The directories of the adapters that can be asked."""
    with system_session(engine) as session:
        statement = select(FineTunedModelRow.directory).where(col(FineTunedModelRow.deleted_at).is_(None))
        return set(session.exec(statement).all())


def _needs_a_worker() -> ColumnElement[bool]:
    """A union, because SQLite scans every job that ever was for the same words with OR between them."""
    active = select(JobRow.id).where(col(JobRow.status).in_(ACTIVE_STATUSES))
    busy = select(JobRow.id).where(col(JobRow.stage).is_not(None))
    return col(JobRow.id).in_(union(active, busy))
