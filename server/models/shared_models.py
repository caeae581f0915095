"""The one look across projects: what a name means to a project that has no model of that name itself.

It answers only what the project may use: models of others that were shared with it, and the targets of its aliases.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, and_, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from server.db.system_session import system_session
from server.db.tables import CheckpointPermissionRow, FineTunedModelRow, ModelAliasRow, ProjectRow
from server.ids import ProjectId


@dataclass(frozen=True)
class Meaning:
    """What was found under a name. All of it may be None."""

    target: str | None = None  # of the project's alias
    model: FineTunedModelRow | None = None  # of this or another project
    owner: str | None = None  # slug of the model's project


@dataclass(frozen=True)
class SharedModel:
    model: FineTunedModelRow
    owner: str  # slug of its project


def find_meaning(database: Engine, project_id: ProjectId, name: str) -> Meaning:
    """Look in the project's aliases and in what was shared with it, in one query whatever there is to be found.

    An alias goes before a shared model: what others share never takes a name away.
    """
    asker = aliased(ProjectRow)
    wanted = func.coalesce(col(ModelAliasRow.target), name)
    is_usable = or_(
        col(FineTunedModelRow.project_id) == col(asker.id), col(CheckpointPermissionRow.model_name).is_not(None)
    )
    statement = (
        select(ModelAliasRow.target, FineTunedModelRow, ProjectRow.slug)
        .select_from(asker)
        .outerjoin(ModelAliasRow, and_(col(ModelAliasRow.project_id) == asker.id, col(ModelAliasRow.name) == name))
        .outerjoin(
            CheckpointPermissionRow,
            and_(
                col(CheckpointPermissionRow.allowed_project_id) == asker.id,
                col(CheckpointPermissionRow.model_name) == wanted,
            ),
        )
        .outerjoin(
            FineTunedModelRow,
            and_(col(FineTunedModelRow.name) == wanted, col(FineTunedModelRow.deleted_at).is_(None), is_usable),
        )
        .outerjoin(ProjectRow, col(ProjectRow.id) == FineTunedModelRow.project_id)
        .where(asker.id == project_id)
    )
    with system_session(database) as session:
        found = session.exec(statement).first()
    return Meaning() if found is None else Meaning(*found)


def list_shared(database: Engine, project_id: ProjectId) -> list[SharedModel]:
    """The models of others that the project may use, oldest first."""
    statement = (
        select(FineTunedModelRow, ProjectRow.slug)
        .join(CheckpointPermissionRow, col(CheckpointPermissionRow.model_name) == col(FineTunedModelRow.name))
        .join(ProjectRow, col(ProjectRow.id) == col(FineTunedModelRow.project_id))
        .where(
            CheckpointPermissionRow.allowed_project_id == project_id,
            FineTunedModelRow.project_id != project_id,
            col(FineTunedModelRow.deleted_at).is_(None),
        )
        .order_by(col(FineTunedModelRow.seq))
    )
    with system_session(database) as session:
        return [SharedModel(model, owner) for model, owner in session.exec(statement)]


def find_owner(database: Engine, name: str) -> ProjectId | None:
    """The project whose fine-tuned model it is; for administrators."""
    statement = select(FineTunedModelRow.project_id).where(
        FineTunedModelRow.name == name, col(FineTunedModelRow.deleted_at).is_(None)
    )
    with system_session(database) as session:
        owner = session.exec(statement).first()
    return None if owner is None else ProjectId(owner)
