"""All SQL about batches: the project's, and the worker's over all projects."""

from collections.abc import Sequence

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from server.batches.input_file import Fault
from server.batches.lifecycle import UNFINISHED, may_follow
from server.batches.results import Tally
from server.db.project_session import ProjectSession
from server.db.system_session import system_session
from server.db.tables import BatchRow, FileRow
from server.files.repository import find_file
from server.vocabulary import BatchStatus, WebhookEventType
from server.webhooks.outbox import add_webhook_event

_UNFINISHED = [status.value for status in UNFINISHED]
_TOLD = {
    BatchStatus.COMPLETED: WebhookEventType.BATCH_COMPLETED,
    BatchStatus.FAILED: WebhookEventType.BATCH_FAILED,
    BatchStatus.EXPIRED: WebhookEventType.BATCH_EXPIRED,
    BatchStatus.CANCELLED: WebhookEventType.BATCH_CANCELLED,
}


def find_batch(session: ProjectSession, batch_id: str) -> BatchRow | None:
    return session.get(BatchRow, batch_id)


def list_batches(session: ProjectSession, *, before_seq: int | None, limit: int) -> Sequence[BatchRow]:
    """Newest first."""
    query = select(BatchRow).order_by(col(BatchRow.seq).desc()).limit(limit)
    if before_seq is not None:
        query = query.where(col(BatchRow.seq) < before_seq)
    return session.exec(query).all()


def count_unfinished(session: ProjectSession) -> int:
    query = select(func.count(col(BatchRow.id))).where(col(BatchRow.status).in_(_UNFINISHED))
    return session.exec(query).one()


def list_unfinished(database: Engine) -> Sequence[BatchRow]:
    """Of all projects, oldest first."""
    query = select(BatchRow).where(col(BatchRow.status).in_(_UNFINISHED))
    with system_session(database) as session:
        return session.exec(query.order_by(col(BatchRow.seq))).all()


def find_unfinished(database: Engine, batch_id: str) -> BatchRow | None:
    with system_session(database) as session:
        row = session.get(BatchRow, batch_id)
    return row if row is not None and row.status in UNFINISHED else None


def find_input(database: Engine, batch: BatchRow, *, now: float) -> FileRow | None:
    with system_session(database) as session:
        file = find_file(session, batch.input_file_id, now=now)
    return None if file is None or file.project_id != batch.project_id else file


def begin(database: Engine, batch_id: str, *, total: int, model: str | None, now: float) -> BatchRow:
    """The input is right. Gives the batch as it is, which was cancelled meanwhile perhaps."""
    with system_session(database, write=True) as session:
        row = session.get_one(BatchRow, batch_id)
        row.total, row.model = total, model
        row.in_progress_at = row.in_progress_at or int(now)
        _move(session, row, BatchStatus.IN_PROGRESS, now)
        return row


def fail(database: Engine, batch_id: str, faults: Sequence[Fault], *, now: float) -> None:
    """The input is not right; of a batch that was cancelled meanwhile nobody asks any more."""
    with system_session(database, write=True) as session:
        row = session.get_one(BatchRow, batch_id)
        if may_follow(row.status, BatchStatus.FAILED):
            row.errors = [vars(fault) for fault in faults]
        ended = BatchStatus.CANCELLED if row.status is BatchStatus.CANCELLING else BatchStatus.FAILED
        _move(session, row, ended, now)


def count(database: Engine, batch_id: str, tally: Tally) -> None:
    """Show how far it is."""
    with system_session(database, write=True) as session:
        row = session.get_one(BatchRow, batch_id)
        _show(row, tally)
        session.add(row)


def finalize(database: Engine, batch_id: str, tally: Tally, *, now: float) -> BatchRow:
    """All requests have their answers. Gives the batch as it is, which was cancelled meanwhile perhaps."""
    with system_session(database, write=True) as session:
        row = session.get_one(BatchRow, batch_id)
        _show(row, tally)
        _move(session, row, BatchStatus.FINALIZING, now)
        return row


def finish(
    database: Engine,
    batch_id: str,
    status: BatchStatus,
    *,
    output: FileRow | None = None,
    errors: FileRow | None = None,
    now: float,
) -> bool:
    """End it with its files, all at once. False: it has ended already, or cannot end so; there are no files then."""
    with system_session(database, write=True) as session:
        row = session.get_one(BatchRow, batch_id)
        if not may_follow(row.status, status):
            return False
        session.add_all([file for file in (output, errors) if file is not None])
        row.output_file_id = None if output is None else output.id
        row.error_file_id = None if errors is None else errors.id
        _move(session, row, status, now)
        return True


def _move(session: Session, row: BatchRow, status: BatchStatus, now: float) -> None:
    if may_follow(row.status, status):
        row.status = status
        setattr(row, f"{status.value}_at", getattr(row, f"{status.value}_at") or int(now))
        if (told := _TOLD.get(status)) is not None:
            add_webhook_event(session, told, project_id=row.project_id, object_id=row.id, now=now)
    session.add(row)


def _show(row: BatchRow, tally: Tally) -> None:
    row.completed, row.failed = tally.completed, tally.failed
    row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens = tally.used
