"""What clients may do with stored completions, and how one comes to be stored and goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from server.db.project_session import ProjectSession
from server.db.tables import StoredCompletionRow
from server.errors import InsufficientStorage, NotFound
from server.pagination import Page, unknown_cursor
from server.stored_completions import repository
from server.stored_completions.bounds import Asked, bounds_of
from server.stored_completions.completion import MODEL, Completion, bytes_beside, labels_of
from server.stored_completions.repository import Sized, Wanted

PAGE_BYTES = 32 * 1024**2  # of a page, which is cut short there: an answer can be long
_AT_ONCE = 200  # rows
_SHOWN = 128  # characters of an id that a client made up


class NoPlace(Exception):
    """There is none for a completion from elsewhere; the message says why."""


@dataclass(frozen=True)
class PageRequest:
    after: str | None
    limit: int
    ascending: bool


def store_completion(session: ProjectSession, completion: Completion, settings: Asked, *, now: float) -> None:
    """Store it; where a project has as many as it may, the oldest make room.

    Raises:
        InsufficientStorage: it is larger than all that the project may have.
    """
    project, total = repository.get_project(session)
    bounds = bounds_of(settings, project)
    if bounds.most_bytes is not None:
        if completion.size_bytes > bounds.most_bytes:
            raise InsufficientStorage(
                f"This completion takes {completion.size_bytes} bytes, and all that are stored of a project may take "
                f"{bounds.most_bytes} together. Send it without 'store'.",
                param="store",
                code="stored_completion_too_large",
            )
        excess = total.size_bytes + completion.size_bytes - bounds.most_bytes
        _make_room(session, min(completion.size_bytes, excess), now=now)
    _add(session, completion)


def store_from_elsewhere(session: ProjectSession, completion: Completion, settings: Asked, *, now: float) -> bool:
    """Store what was made elsewhere, with its own time. False: it is there, or was.

    Raises:
        NoPlace: by the project's bounds; nothing makes room for it.
    """
    if repository.find_position(session, completion.id) is not None:
        return False
    project, total = repository.get_project(session)
    bounds = bounds_of(settings, project)
    if bounds.most_s is not None and completion.created_at < now - bounds.most_s:
        raise NoPlace(f"they are older than the {bounds.most_s // (24 * 3600)} days that they are kept here")
    if bounds.most_bytes is not None and total.size_bytes + completion.size_bytes > bounds.most_bytes:
        raise NoPlace(f"the project's may take {bounds.most_bytes} bytes")
    _add(session, completion)
    return True


def _add(session: ProjectSession, completion: Completion) -> None:
    row = StoredCompletionRow(
        project_id=session.project_id,
        id=completion.id,
        created_at=completion.created_at,
        size_bytes=completion.size_bytes,
        pairs=dict(completion.metadata),
        shown=completion.shown,
        messages=completion.messages,
    )
    repository.add_completion(session, row, completion.labels)


def list_completions(
    session: ProjectSession, asked: PageRequest, labels: Mapping[str, str]
) -> Page[StoredCompletionRow]:
    """Those with all the labels. A page holds fewer than were asked for where they are large.

    Raises:
        InvalidRequest: `after` is no completion of the project.
    """
    beyond = None
    if asked.after is not None and (beyond := repository.find_position(session, asked.after)) is None:
        raise unknown_cursor(asked.after)
    sized = repository.list_sized(
        session, Wanted(labels), beyond=beyond, limit=asked.limit + 1, ascending=asked.ascending
    )
    n_rows = count_fitting([one.size_bytes for one in sized[: asked.limit]], PAGE_BYTES)
    rows = repository.get_completions(session, [one.seq for one in sized[:n_rows]])
    return Page(rows, has_more=len(sized) > n_rows)


def count_fitting(sizes: Sequence[int], most_bytes: int) -> int:
    """How many of the first fit; one always does."""
    total = 0
    for place, size in enumerate(sizes):
        total += size
        if total > most_bytes and place > 0:
            return place
    return len(sizes)


def retrieve_completion(session: ProjectSession, completion_id: str) -> StoredCompletionRow:
    """Raises: NotFound."""
    row = repository.find_completion(session, completion_id)
    if row is None:
        raise unknown_completion(completion_id)
    return row


def retrieve_messages(session: ProjectSession, completion_id: str) -> bytes:
    """JSON. Raises: NotFound."""
    row = repository.find_with_messages(session, completion_id)
    if row is None:
        raise unknown_completion(completion_id)
    return row.messages


def update_metadata(
    session: ProjectSession, completion_id: str, metadata: Mapping[str, str] | None
) -> StoredCompletionRow:
    """Put other metadata in the place of what there was. Raises: NotFound."""
    row = retrieve_completion(session, completion_id)
    model = orjson.loads(row.shown)["model"]
    before, after = labels_of(model, row.pairs), labels_of(model, metadata or {})
    grown = bytes_beside(after) - bytes_beside(before)
    repository.delete_labels(session, row, but=MODEL)
    repository.add_labels(session, row, {name: value for name, value in after.items() if name != MODEL})
    repository.add_to_total(session, session.project_id, grown)
    row.pairs, row.size_bytes = dict(metadata or {}), row.size_bytes + grown
    session.add(row)
    return row


def delete_completion(session: ProjectSession, completion_id: str, *, now: float) -> None:
    """Raises: NotFound."""
    row = retrieve_completion(session, completion_id)
    gone = Sized(row.seq or 0, row.created_at, row.size_bytes)
    repository.delete_completions(session, session.project_id, [gone], now=now)


def unknown_completion(completion_id: str) -> NotFound:
    return NotFound(f"Chat completion with id '{completion_id[:_SHOWN]}' not found.", param="completion_id")


def _make_room(session: ProjectSession, due: int, *, now: float) -> None:
    """Delete so many bytes of the oldest, no more than are to come: what a lowered bound leaves is the sweeper's."""
    while due > 0:
        oldest = repository.list_oldest(session, session.project_id, limit=_AT_ONCE)
        if not oldest:
            return
        gone = first_of(oldest, due)
        repository.delete_completions(session, session.project_id, gone, now=now)
        due -= sum(one.size_bytes for one in gone)


def first_of(oldest: Sequence[Sized], n_bytes: int) -> list[Sized]:
    """As many as it takes to come to so many bytes, or all."""
    gone: list[Sized] = []
    for one in oldest:
        if n_bytes <= 0:
            break
        gone.append(one)
        n_bytes -= one.size_bytes
    return gone
