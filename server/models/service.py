"""What clients may do with models, and what a name stands for."""

import shutil
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session

from inference.engine import AdapterRef
from server.base_models import BaseModels
from server.db.project_session import ProjectSession, project_session
from server.db.tables import FineTunedModelRow
from server.errors import Forbidden, NotFound
from server.ids import ProjectId
from server.models import repository
from server.models.schemas import Model


def list_models(session: ProjectSession, base_models: BaseModels, *, owner: str) -> list[Model]:
    """Every base model under each of its names, then the project's own, oldest first."""
    bases = [_describe_base(base_models, name) for name in base_models.by_name]
    return bases + [_describe(row, owner) for row in repository.list_models(session)]


def retrieve_model(session: ProjectSession, base_models: BaseModels, name: str, *, owner: str) -> Model:
    """Raises: NotFound."""
    if base_models.find(name):
        return _describe_base(base_models, name)
    return _describe(_get(session, name), owner)


def close_model(session: ProjectSession, base_models: BaseModels, name: str) -> FineTunedModelRow:
    """Delete a fine-tuned model's name: from the commit on nobody finds it. Its files are deleted afterwards.

    Raises:
        Forbidden: it is a base model.
        NotFound: there is no such model.
    """
    if base_models.find(name):
        raise Forbidden(f"The model '{name}' is a base model of this server; only fine-tuned models can be deleted.")
    row = _get(session, name)
    row.deleted_at = int(time.time())
    session.add(row)
    return row


def find_adapter(database: Engine, project_id: str, name: str, *, adapters: Path) -> AdapterRef | None:
    """The adapter behind a fine-tuned model's name; None if the project has no such model. Reads the database."""
    with project_session(database, ProjectId(project_id)) as session:
        row = repository.find_model(session, name)
    return None if row is None else adapter_of(row, adapters)


def adapter_of(row: FineTunedModelRow, adapters: Path) -> AdapterRef:
    return AdapterRef(row.name, row.base_model, adapters / row.directory, row.rank)


def delete_adapter_files(session: Session, row: FineTunedModelRow, adapters: Path) -> None:
    """Delete a deleted model's files unless another model has the same. Idempotent.

    The engine must have forgotten the adapter: one that reads it again dies for everybody.
    """
    if not repository.list_directories_in_use(session, [row.directory]):
        shutil.rmtree(adapters / row.directory, ignore_errors=True)


def model_not_found(name: str) -> NotFound:
    """The same for a name that never was, one that was deleted, and one of another project."""
    return NotFound(f"The model '{name}' does not exist", param="model", code="model_not_found")


def _get(session: ProjectSession, name: str) -> FineTunedModelRow:
    row = repository.find_model(session, name)
    if row is None:
        raise model_not_found(name)
    return row


def _describe_base(base_models: BaseModels, name: str) -> Model:
    return Model(id=name, created=base_models.by_name[name].created, owned_by="system")


def _describe(row: FineTunedModelRow, owner: str) -> Model:
    return Model(id=row.name, created=row.created_at, owned_by=owner)
