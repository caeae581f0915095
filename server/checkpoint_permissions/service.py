"""Letting other projects use a fine-tuned model: one project's own models, or any for an administrator."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine

from server.auth.api_keys import find_project
from server.auth.caller import Caller
from server.checkpoint_permissions import repository
from server.db.project_session import ProjectSession
from server.db.tables import CheckpointPermissionRow
from server.errors import InvalidRequest, NotFound
from server.ids import ProjectId, new_permission_id
from server.models.repository import find_model
from server.models.service import model_not_found
from server.models.shared_models import find_owner
from server.pagination import Page, build_page, unknown_cursor

_SHOWN = 128  # characters of an id that a client made up


@dataclass(frozen=True)
class PermissionsRequest:
    """Which permissions, and in which order."""

    project_id: str | None
    after: str | None
    limit: int
    order: Literal["ascending", "descending"]


def owner_for(database: Engine, caller: Caller, model_name: str) -> ProjectId:
    """The project in which the caller may change a model's permissions; the model need not be there."""
    return (find_owner(database, model_name) if caller.is_admin else None) or caller.project_id


def check_model(session: ProjectSession, model_name: str) -> None:
    """Raises: NotFound."""
    if find_model(session, model_name) is None:
        raise model_not_found(model_name)


def check_projects(database: Engine, project_ids: Sequence[str]) -> None:
    """Raises: InvalidRequest: one of them is not there."""
    for index, project_id in enumerate(project_ids):
        if find_project(database, project_id, is_admin=False) is None:
            param = f"project_ids[{index}]"
            raise InvalidRequest(
                f"Invalid '{param}': there is no project with the id '{project_id[:_SHOWN]}'.",
                param=param,
                code="invalid_value",
            )


def create_permissions(
    session: ProjectSession, model_name: str, project_ids: Sequence[str]
) -> list[CheckpointPermissionRow]:
    """Let projects use a model. One that may already keeps its permission.

    Raises:
        NotFound: the project has no such model.
    """
    check_model(session, model_name)
    return [_ensure_permission(session, model_name, project_id) for project_id in dict.fromkeys(project_ids)]


def list_permissions(
    session: ProjectSession, model_name: str, asked: PermissionsRequest
) -> Page[CheckpointPermissionRow]:
    """Raises: NotFound, InvalidRequest."""
    check_model(session, model_name)
    after_seq = None
    if asked.after is not None:
        cursor = repository.find_permission(session, model_name, asked.after)
        if cursor is None:
            raise unknown_cursor(asked.after)
        after_seq = cursor.seq
    rows = repository.list_permissions(
        session,
        model_name,
        project_id=asked.project_id,
        after_seq=after_seq,
        newest_first=asked.order == "descending",
        limit=asked.limit + 1,
    )
    return build_page(rows, asked.limit)


def delete_permission(session: ProjectSession, model_name: str, permission_id: str) -> None:
    """Take a permission back: the next request of the project is refused.

    Raises:
        NotFound: there is no such model, or no such permission of it.
    """
    check_model(session, model_name)
    row = repository.find_permission(session, model_name, permission_id)
    if row is None:
        raise NotFound(
            f"Could not find checkpoint permission: {permission_id[:_SHOWN]}",
            param="permission_id",
            code="checkpoint_permission_not_found",
        )
    session.delete(row)


def _ensure_permission(session: ProjectSession, model_name: str, project_id: str) -> CheckpointPermissionRow:
    row = repository.find_permission_of(session, model_name, project_id)
    if row is None:
        row = CheckpointPermissionRow(
            id=new_permission_id(),
            project_id=session.project_id,
            model_name=model_name,
            allowed_project_id=project_id,
            created_at=int(time.time()),
        )
        session.add(row)
        session.flush()
    return row
