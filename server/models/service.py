"""What clients may do with models."""

import shutil
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session

from server.base_models import BaseModels
from server.db.project_session import ProjectSession, project_session
from server.db.tables import FineTunedModelRow
from server.errors import ApiError, Forbidden, NotFound
from server.ids import ProjectId
from server.models import repository
from server.models.resolving import UsableModel, find_model
from server.models.schemas import Model
from server.models.shared_models import list_shared


def list_models(database: Engine, base_models: BaseModels, project_id: ProjectId, *, owner: str) -> list[Model]:
    """Every base model under each of its names, the project's own, those shared with it, and its aliases."""
    with project_session(database, project_id) as session:
        own, aliases = repository.list_models(session), repository.list_aliases(session)
    models = [_describe_base(base_models, name) for name in base_models.by_name]
    models += [_describe_row(base_models, row, owner) for row in own]
    models += [_describe_row(base_models, shared.model, shared.owner) for shared in list_shared(database, project_id)]
    # An alias goes before a shared model of its name, and is not listed while there is nothing behind it.
    by_name = {model.id: model for model in models}
    named = {
        alias.name: by_name[alias.target].model_copy(update={"id": alias.name})
        for alias in aliases
        if alias.target in by_name
    }
    taken = {*base_models.by_name, *(row.name for row in own)}
    return list({**by_name, **{name: model for name, model in named.items() if name not in taken}}.values())


def retrieve_model(database: Engine, base_models: BaseModels, project_id: ProjectId, name: str, *, owner: str) -> Model:
    """Raises: NotFound."""
    found = find_model(database, base_models, project_id, name)
    if found is None:
        raise model_not_found(name)
    if found.row is None:
        return _describe_base(base_models, found.alias_of or name).model_copy(update={"id": name})
    return _describe_row(base_models, found.row, found.owner or owner).model_copy(update={"id": name})


def close_model(session: ProjectSession, name: str) -> FineTunedModelRow | None:
    """Delete a fine-tuned model's name: from the commit on nobody finds it. Its files are deleted afterwards.

    None if the project has no fine-tuned model of this name.
    """
    row = repository.find_model(session, name)
    if row is not None:
        row.deleted_at = int(time.time())
        session.add(row)
        repository.delete_permissions(session, name)
    return row


def describe_undeletable(found: UsableModel | None, name: str) -> ApiError:
    """Say why a name that is no fine-tuned model of the project's cannot be deleted."""
    if found is None:
        return model_not_found(name)
    if found.alias_of is not None:
        return Forbidden(
            f"'{name}' is an alias of the model '{found.alias_of}'. Delete that model, or have an administrator "
            f"remove the alias with DELETE /v1/tunesmith/model_aliases/{name}."
        )
    if found.owner is not None:
        return Forbidden(f"The model '{name}' belongs to another project, which alone can delete it.")
    return Forbidden(f"The model '{name}' is a base model of this server; only fine-tuned models can be deleted.")


def delete_adapter_files(session: Session, row: FineTunedModelRow, adapters: Path) -> None:
    """Delete a deleted model's files unless another model has the same. Idempotent.

    The engine must have forgotten the adapter: one that reads it again dies for everybody.
    """
    if not repository.list_directories_in_use(session, [row.directory]):
        shutil.rmtree(adapters / row.directory, ignore_errors=True)


def model_not_found(name: str) -> NotFound:
    """The same for a name that never was, one that was deleted, and one of another project."""
    return NotFound(f"The model '{name}' does not exist", param="model", code="model_not_found")


def _describe_base(base_models: BaseModels, name: str) -> Model:
    base = base_models.by_name[name]
    return Model(id=name, created=base.created, owned_by="system", shutdown_date=base.shutdown_date)


def _describe_row(base_models: BaseModels, row: FineTunedModelRow, owner: str) -> Model:
    base = base_models.find(row.base_model)
    return Model(
        id=row.name,
        created=row.created_at,
        owned_by=owner,
        shutdown_date=None if base is None else base.shutdown_date,
    )
