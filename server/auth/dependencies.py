"""The only door to a session: a route gets the caller, and a database confined to the caller's project."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from server.auth.caller import Caller
from server.db.project_session import ProjectSession, project_session

_BEARER = HTTPBearer(auto_error=False, description="An API key.")  # for the document; the authenticator decides


def get_caller(request: Request, _bearer: Annotated[object, Depends(_BEARER)]) -> Caller:
    """Raises: Unauthenticated."""
    caller: Caller = request.app.state.authenticator.authenticate(request.scope["headers"])
    request.state.organization = caller.slug
    return caller


CallerDep = Annotated[Caller, Depends(get_caller, scope="function")]


def project_db(request: Request, caller: CallerDep) -> Iterator[ProjectSession]:
    """One transaction per request: committed when the route returns, before the answer is sent."""
    writes = request.method not in ("GET", "HEAD")
    with project_session(request.app.state.database, caller.project_id, write=writes) as session:
        yield session


ProjectDb = Annotated[ProjectSession, Depends(project_db, scope="function")]
