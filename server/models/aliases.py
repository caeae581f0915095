"""Names that a project's code uses for one of its models; administrators set them."""

import re
import time

from sqlalchemy import Engine

from server.base_models import BaseModels
from server.db.project_session import ProjectSession, project_session
from server.db.tables import ModelAliasRow
from server.errors import InvalidRequest, NotFound
from server.ids import ProjectId
from server.models import repository
from server.models.resolving import find_model

_NAME = re.compile(r"[!-~]{1,256}")  # printable ASCII without spaces, as model names are
_SHOWN = 256  # characters of a name that a client made up


def set_alias(
    database: Engine, base_models: BaseModels, project_id: ProjectId, *, name: str, target: str
) -> ModelAliasRow:
    """Make a name stand for a model that the project may use. One for an alias is one for what that stands for.

    Raises:
        InvalidRequest: the name is none, or a model's; or there is no such target.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "Invalid 'name': expected 1 to 256 printable ASCII characters without spaces.",
            param="name",
            code="invalid_value",
        )
    standing = find_model(database, base_models, project_id, name)
    if standing is not None and standing.alias_of is None:
        raise InvalidRequest(
            f"Invalid 'name': '{name}' is a model of its own, which an alias would hide.",
            param="name",
            code="invalid_value",
        )
    meant = find_model(database, base_models, project_id, target)
    if meant is None:
        raise InvalidRequest(
            f"Invalid 'target': the project can use no model '{target[:_SHOWN]}'. GET /v1/models lists those it can.",
            param="target",
            code="model_not_found",
        )
    with project_session(database, project_id, write=True) as session:
        return repository.set_alias(session, name, meant.alias_of or target, now=time.time())


def delete_alias(session: ProjectSession, name: str) -> None:
    """Raises: NotFound."""
    row = repository.find_alias(session, name)
    if row is None:
        raise NotFound(
            f"The project has no alias '{name[:_SHOWN]}'. GET /v1/tunesmith/model_aliases lists those it has.",
            param="name",
        )
    session.delete(row)
