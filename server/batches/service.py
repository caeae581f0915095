"""What clients may do with batches."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.batches import repository
from server.batches.input_lines import MOST_BYTES
from server.batches.lifecycle import WINDOW_S, may_follow
from server.batches.schemas import CreateBatchRequest
from server.db.project_session import ProjectSession
from server.db.tables import BatchRow, FileRow
from server.errors import Conflict, InvalidRequest, NotFound
from server.files.repository import find_file
from server.ids import new_batch_id
from server.pagination import Page, build_page, unknown_cursor
from server.vocabulary import BatchStatus, FilePurpose

_MOST_UNFINISHED = 1000  # of a project; the worker looks at all of them twice a second
_SHOWN = 128  # characters of what a client made up


@dataclass(frozen=True)
class PageRequest:
    after: str | None
    limit: int


def create_batch(
    session: ProjectSession, asked: CreateBatchRequest, *, endpoints: Sequence[str], key_id: str, now: float
) -> BatchRow:
    """Make a batch, whose file the worker looks at. `endpoints`: of this server.

    Raises:
        InvalidRequest: the file is none for a batch, the endpoint is not one of these, or there are too many batches.
    """
    if asked.endpoint not in endpoints:
        supported = ", ".join(f"'{endpoint}'" for endpoint in endpoints)
        raise InvalidRequest(
            f"Invalid value: '{asked.endpoint[:_SHOWN]}'. Supported values are: {supported}.",
            param="endpoint",
            code="invalid_value",
        )
    _check_input(find_file(session, asked.input_file_id, now=now), asked.input_file_id)
    if repository.count_unfinished(session) >= _MOST_UNFINISHED:
        raise InvalidRequest(
            f"The project has {_MOST_UNFINISHED} batches that have not ended. Wait for one, or cancel one.",
            code="batch_limit_reached",
        )
    after = asked.output_expires_after
    row = BatchRow(
        id=new_batch_id(),
        project_id=session.project_id,
        key_id=key_id,
        endpoint=asked.endpoint,
        input_file_id=asked.input_file_id,
        completion_window=asked.completion_window,
        batch_metadata=asked.metadata,
        output_expires_after_s=None if after is None else after.seconds,
        created_at=int(now),
        expires_at=int(now) + WINDOW_S,
    )
    session.add(row)
    session.flush()
    return row


def retrieve_batch(session: ProjectSession, batch_id: str) -> BatchRow:
    """Raises: NotFound."""
    row = repository.find_batch(session, batch_id)
    if row is None:
        raise NotFound(f"No batch found with id '{batch_id[:_SHOWN]}'.", param="batch_id")
    return row


def list_batches(session: ProjectSession, asked: PageRequest) -> Page[BatchRow]:
    """Newest first. Raises: InvalidRequest."""
    before_seq = None
    if asked.after is not None:
        cursor = repository.find_batch(session, asked.after)
        if cursor is None:
            raise unknown_cursor(asked.after)
        before_seq = cursor.seq
    return build_page(repository.list_batches(session, before_seq=before_seq, limit=asked.limit + 1), asked.limit)


def cancel_batch(session: ProjectSession, batch_id: str, *, now: float) -> BatchRow:
    """Have it end with what is answered by now. Can be repeated until it has.

    Raises:
        NotFound, Conflict: it has ended, or is about to.
    """
    row = retrieve_batch(session, batch_id)
    if row.status is BatchStatus.CANCELLING:
        return row
    if not may_follow(row.status, BatchStatus.CANCELLING):
        raise Conflict(f"Cannot cancel a batch with status '{row.status}'.", code="invalid_batch_status")
    row.status, row.cancelling_at = BatchStatus.CANCELLING, int(now)
    session.add(row)
    return row


def _check_input(file: FileRow | None, file_id: str) -> None:
    if file is None:
        raise InvalidRequest(f"invalid input_file_id: {file_id[:_SHOWN]}", param="input_file_id")
    if file.purpose is not FilePurpose.BATCH:
        raise InvalidRequest(
            f"invalid input_file_id: {file_id} has the purpose '{file.purpose}', but 'batch' is needed. "
            "Upload the file again with that purpose.",
            param="input_file_id",
        )
    if file.bytes > MOST_BYTES:
        raise InvalidRequest(
            f"invalid input_file_id: {file_id} has {file.bytes} bytes; a batch takes at most {MOST_BYTES}. "
            "Make several batches of it.",
            param="input_file_id",
            code="file_too_large",
        )
