"""How a route gets its `Once`."""

from typing import Annotated

from fastapi import Depends, Header, Request

from server.auth.caller import Caller
from server.auth.dependencies import CallerDep, ProjectDatabase, ProjectDb
from server.idempotency.once import Once
from server.idempotency.sending import MAX_KEY_LENGTH, read_sending

# Checked by `read_sending`, which knows OpenAI's words; the bounds are for the document.
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A random text of this request's own: whatever is sent again with it is done and answered once.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_KEY_LENGTH},
    ),
]


def build_once(request: Request, caller: Caller, db: ProjectDatabase, idempotency_key: str | None) -> Once:
    """Raises: InvalidRequest: an idempotency key that cannot be one."""
    sending = read_sending(request.headers, key_id=caller.key_id, idempotency_key=idempotency_key)
    once = Once(db, sending, request.app.state.running_keys)
    request.state.once = once  # for the edge, which sees the faults
    return once


def get_once(request: Request, caller: CallerDep, db: ProjectDb, idempotency_key: IdempotencyKeyHeader = None) -> Once:
    return build_once(request, caller, db, idempotency_key)


def get_once_without_key(request: Request, caller: CallerDep, db: ProjectDb) -> Once:
    return build_once(request, caller, db, None)


OnceDep = Annotated[Once, Depends(get_once)]  # of a POST
UnkeyedOnceDep = Annotated[Once, Depends(get_once_without_key)]  # of a DELETE: a key has no effect there
