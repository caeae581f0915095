"""Responses in the database: written when they begin or end, read when they are asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from server.db.project_session import ProjectSession
from server.db.tables import ResponseItemRow, ResponseRow
from server.errors import ApiError, ServerFault
from server.name_locks import NameLocks
from server.relay.fields import JsonObject
from server.responses import repository, response
from server.responses.before import Before
from server.vocabulary import ResponseStatus

RUNNER = "responses in the background"  # the lock of a process that works on some, with its name


class Work(NamedTuple):
    """In the background."""

    runner: str  # the process that works
    key_id: str  # that asked
    asked: bytes  # the request, by which another process can go on


def add(
    session: ProjectSession, body: JsonObject, items: Sequence[JsonObject], before: Before, work: Work | None = None
) -> None:
    """Keep a response with its own input. `work`: what is still to be done; None: it has ended."""
    output = body["output"]
    item_bytes = len(orjson.dumps([*items, *output]))
    row = ResponseRow(
        project_id=session.project_id,
        id=body["id"],
        created_at=body["created_at"],
        status=ResponseStatus(body["status"]),
        body=_without_output(body),
        previous_id=body["previous_response_id"],
        depth=before.depth + 1,
        thread_bytes=before.thread_bytes + item_bytes,
        size_bytes=len(orjson.dumps(_without_output(body))) + item_bytes,
    )
    if work is not None:
        row.runner, row.key_id, row.asked = work
        row.n_runners = 1
    session.add(row)
    _add_items(session, row.id, items, 0, is_output=False)
    _add_items(session, row.id, output, len(items), is_output=True)


def begin(session: ProjectSession, response_id: str) -> bool:
    """Say that the work has begun; False: there is none to be done."""
    row = repository.find_response(session, response_id)
    if row is None or row.runner is None:
        return False
    _put(row, row.body | {"status": ResponseStatus.IN_PROGRESS})
    return True


def finish(session: ProjectSession, body: JsonObject) -> None:
    """Keep what came of a response that was begun, unless it was cancelled or deleted meanwhile."""
    row = repository.find_response(session, body["id"])
    if row is None or row.runner is None:
        return
    output = body["output"]
    place = len(repository.list_items(session, [row.id]))
    _put(row, _without_output(body))
    _leave(row)
    item_bytes = len(orjson.dumps(output))
    row.thread_bytes += item_bytes
    row.size_bytes += item_bytes
    _add_items(session, row.id, output, place, is_output=True)


def fail(session: ProjectSession, response_id: str, error: ApiError) -> None:
    """End a response that came to nothing, unless it was cancelled or deleted meanwhile."""
    row = repository.find_response(session, response_id)
    if row is not None and row.runner is not None:
        _fail(row, error)


def show(session: ProjectSession, row: ResponseRow) -> JsonObject:
    """Give a response as its client knows it."""
    output = [item.body for item in repository.list_items(session, [row.id]) if item.is_output]
    return row.body | {"output": output}


def cancel(row: ResponseRow) -> None:
    """End a response that is worked on. The process that does so finds out."""
    _put(row, response.cancel(row.body))
    _leave(row)


def give_up(row: ResponseRow) -> None:
    """End a response that one process after the other left."""
    _fail(row, ServerFault("The server was stopped each time it worked on this response. Send the request again."))


def is_abandoned(locks: NameLocks, runner: str) -> bool:
    """Say whether the process is gone that was to work."""
    held = locks.take(RUNNER, runner)
    if held is None:
        return False
    held.release()
    return True


def _fail(row: ResponseRow, error: ApiError) -> None:
    _put(row, response.fail(row.body, error))
    _leave(row)


def _leave(row: ResponseRow) -> None:
    """Nobody works on it any more, and nobody has to."""
    row.runner, row.asked = None, None


def _put(row: ResponseRow, body: JsonObject) -> None:
    row.body, row.status = body, ResponseStatus(body["status"])


def _without_output(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if name != "output"}


def _add_items(
    session: ProjectSession, response_id: str, items: Sequence[JsonObject], place: int, *, is_output: bool
) -> None:
    for position, item in enumerate(items, start=place):
        row = ResponseItemRow(
            project_id=session.project_id,
            response_id=response_id,
            position=position,
            id=item["id"],
            is_output=is_output,
            body=item,
        )
        session.add(row)
