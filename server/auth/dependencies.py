"""The only door to a session: a route gets the caller, and a database confined to the caller's project."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy import Engine

from server.auth.caller import Caller
from server.db.project_session import ProjectSession, project_session
from server.errors import Forbidden
from server.ids import ProjectId

_BEARER = HTTPBearer(auto_error=False, description="An API key.")  # for the document; the authenticator decides


def get_caller(request: Request, _bearer: Annotated[object, Depends(_BEARER)]) -> Caller:
    """Raises: Unauthenticated."""
    caller: Caller = request.app.state.authenticator.authenticate(request.scope["headers"])
    request.state.organization = caller.slug
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


class RequireAdmin:
    """A route's dependency: only for admin keys. The scope is OpenAI's word for what another key lacks."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def __call__(self, caller: CallerDep) -> None:
        """Raises: Forbidden."""
        if not caller.is_admin:
            raise Forbidden(
                f"You have insufficient permissions for this operation. Missing scopes: {self._scope}. "
                "An admin key has them."
            )


@dataclass(frozen=True)
class ProjectDatabase:
    """The database as the caller's project sees it.

    A route opens a transaction and ends it before it returns, in one thread: see docs/decisions/0009.
    """

    engine: Engine
    project_id: ProjectId

    def read(self) -> AbstractContextManager[ProjectSession]:
        return project_session(self.engine, self.project_id)

    def write(self) -> AbstractContextManager[ProjectSession]:
        """Committed at the end, rolled back on an exception."""
        return project_session(self.engine, self.project_id, write=True)


def get_project_database(request: Request, caller: CallerDep) -> ProjectDatabase:
    return ProjectDatabase(request.app.state.database, caller.project_id)


ProjectDb = Annotated[ProjectDatabase, Depends(get_project_database)]
