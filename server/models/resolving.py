"""What a model's name stands for, for one project: the one answer for chat, for jobs and for the list of models."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from inference.engine import AdapterRef
from server.base_models import BaseModels
from server.db.project_session import project_session
from server.db.tables import FineTunedModelRow
from server.ids import ProjectId
from server.models import repository
from server.models.shared_models import find_meaning


@dataclass(frozen=True)
class UsableModel:
    """A base model, or a fine-tuned one of the project or shared with it."""

    base_model: str  # its own name; a fine-tuned model may outlive its base's place in the settings
    row: FineTunedModelRow | None = None  # None: the base model itself
    owner: str | None = None  # slug of the project that shares it; None: nobody had to
    alias_of: str | None = None  # the target, where the name that was asked is an alias


@dataclass(frozen=True)
class Servable:
    """What an engine is asked for."""

    base_model: str  # its own name
    adapter: AdapterRef | None  # or the full model, which has an engine of its own; None: the base model itself


def find_model(database: Engine, base_models: BaseModels, project_id: str, name: str) -> UsableModel | None:
    """The model of this name that the project may use now; None for one that never was, is gone or is another's.

    Reads the database unless it is a base model's name, in transactions of its own.
    """
    if base := base_models.find(name):
        return UsableModel(base.name)
    project = ProjectId(project_id)
    with project_session(database, project) as session:
        row = repository.find_model(session, name)
    if row is not None:
        return UsableModel(row.base_model, row)
    found = find_meaning(database, project, name)
    if found.target is not None and (base := base_models.find(found.target)):
        return UsableModel(base.name, alias_of=found.target)
    if found.model is None:
        return None
    owner = None if found.model.project_id == project else found.owner
    return UsableModel(found.model.base_model, found.model, owner, found.target)


def find_servable(
    database: Engine, base_models: BaseModels, adapters: Path, project_id: str, name: str
) -> Servable | None:
    """What answers under this name in the project's chats. Reads the database."""
    found = find_model(database, base_models, project_id, name)
    if found is None:
        return None
    return Servable(found.base_model, None if found.row is None else adapter_of(found.row, adapters))


def adapter_of(row: FineTunedModelRow, adapters: Path) -> AdapterRef:
    """A row without a hash is one whose files were gone when hashes were first recorded: no weights have it."""
    directory, sha256 = adapters / row.directory, row.sha256 or ""
    return AdapterRef(row.name, row.base_model, directory, row.rank, sha256, is_full=row.is_full)
