"""How a route gets its `Once`."""

from typing import Annotated

from fastapi import Depends, Request

from server.auth.dependencies import CallerDep, ProjectDb
from server.idempotency.once import Once
from server.idempotency.sending import read_sending


def get_once(request: Request, caller: CallerDep, db: ProjectDb) -> Once:
    """Raises: InvalidRequest: an idempotency key that cannot be one."""
    sending = read_sending(request.headers, method=request.method, key_id=caller.key_id)
    once = Once(db, sending, request.app.state.running_keys)
    request.state.once = once  # for the edge, which sees the faults
    return once


OnceDep = Annotated[Once, Depends(get_once)]
