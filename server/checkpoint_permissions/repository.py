"""All SQL about the permissions that a project gives others; its session is confined to the giver."""

from collections.abc import Sequence

from sqlmodel import col, select

from server.db.project_session import ProjectSession
from server.db.tables import CheckpointPermissionRow


def find_permission(session: ProjectSession, model_name: str, permission_id: str) -> CheckpointPermissionRow | None:
    row = session.get(CheckpointPermissionRow, permission_id)
    return row if row is not None and row.model_name == model_name else None


def find_permission_of(session: ProjectSession, model_name: str, project_id: str) -> CheckpointPermissionRow | None:
    """The one that this project was given."""
    query = select(CheckpointPermissionRow).where(
        CheckpointPermissionRow.model_name == model_name, CheckpointPermissionRow.allowed_project_id == project_id
    )
    return session.exec(query).first()


def list_permissions(
    session: ProjectSession,
    model_name: str,
    *,
    project_id: str | None,
    after_seq: int | None,
    newest_first: bool,
    limit: int,
) -> Sequence[CheckpointPermissionRow]:
    """Up to `limit` of a model, or the one of a project; those after `after_seq` in the order that is asked for."""
    seq = col(CheckpointPermissionRow.seq)
    query = select(CheckpointPermissionRow).where(CheckpointPermissionRow.model_name == model_name)
    if project_id is not None:
        query = query.where(CheckpointPermissionRow.allowed_project_id == project_id)
    if after_seq is not None:
        query = query.where(seq < after_seq if newest_first else seq > after_seq)
    return session.exec(query.order_by(seq.desc() if newest_first else seq).limit(limit)).all()
