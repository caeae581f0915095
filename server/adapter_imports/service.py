"""What clients may do with imports: hand an adapter in, and see what has become of it."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from inference.base_shapes import BaseShapes, read_base_shapes
from server.adapter_imports import repository
from server.adapter_imports.desk import ImportDirectory
from server.adapter_imports.rebuilding import Rebuilt, rebuild
from server.adapter_imports.unpacking import unpack
from server.base_models import BaseModelEntry, BaseModels, Kind
from server.db.project_session import ProjectSession
from server.db.tables import ModelImportRow
from server.errors import Busy, InvalidRequest, NotFound
from server.models.names import new_model_name, normalise_suffix
from server.placement.machine import count_parameters
from server.record.base_identity import find_directory
from server.settings import Settings

_PROCESS_BYTES = 700_000_000  # the interpreter with torch, transformers and PEFT
_MOST_UNFINISHED = 4  # of a project; each holds an adapter's room on the disk


@dataclass(frozen=True)
class AskedImport:
    base: BaseModelEntry
    base_name: str  # as the client named it, for the model's name
    suffix: str | None


def read_asked(base_models: BaseModels, *, base_model: str, suffix: str | None) -> AskedImport:
    """Raises: InvalidRequest: there is no such base model, or no name can be made of the suffix."""
    base = base_models.find(base_model)
    if base is None:
        raise InvalidRequest(
            f"'{base_model[:256]}' is no base model of this server. Those that GET /v1/models shows as owned by "
            "'system' are.",
            param="base_model",
            code="model_not_found",
        )
    if base.kind is not Kind.CHAT:
        raise InvalidRequest(
            f"'{base_model[:256]}' gives embeddings, and adapters are served on models that answer in text alone.",
            param="base_model",
            code="model_not_available",
        )
    return AskedImport(base, base_model, None if suffix is None else normalise_suffix(suffix))


def stage_adapter(source: Path, directory: ImportDirectory, asked: AskedImport, settings: Settings) -> Rebuilt:
    """Make an adapter that an engine can be asked for of what lies in an archive, or in an operator's directory.

    Raises:
        InvalidRequest, PayloadTooLarge: it holds no adapter that can be served here.
    """
    shapes = _read_shapes(asked.base)
    for path in (directory.sent, directory.adapter):
        path.mkdir()
    unpack(source, directory.sent, max_bytes=settings.max_adapter_bytes)
    rebuilt = rebuild(directory.sent, directory.adapter, shapes, max_rank=settings.max_lora_rank)
    shutil.rmtree(directory.sent)
    return rebuilt


def create_import(
    session: ProjectSession, directory: ImportDirectory, asked: AskedImport, rebuilt: Rebuilt
) -> ModelImportRow:
    """Raises: Busy: the project has as many unfinished imports as it may have."""
    if repository.count_unfinished(session) >= _MOST_UNFINISHED:
        raise Busy(f"{_MOST_UNFINISHED} imports of the project are in progress. Try again when one has ended.")
    name = new_model_name(asked.base_name, repository.slug_of_project(session), asked.suffix)
    row = ModelImportRow(
        id=directory.import_id,
        project_id=session.project_id,
        created_at=int(time.time()),
        base_model=asked.base.name,
        model_name=str(name),
        rank=rebuilt.rank,
        sha256=rebuilt.sha256,
        needed_bytes=_look_bytes(asked.base),
    )
    session.add(row)
    return row


def retrieve_import(session: ProjectSession, import_id: str) -> ModelImportRow:
    """Raises: NotFound."""
    row = repository.find_import(session, import_id)
    if row is None:
        raise NotFound(f"No such import: {import_id}", param="import_id")
    return row


def _look_bytes(base: BaseModelEntry) -> int:
    """What the trainer takes of main memory that loads the base model, in 32-bit floats, and samples."""
    directory = find_directory(base)
    parameters = None if directory is None else count_parameters(str(directory))
    return 0 if parameters is None else 4 * parameters + _PROCESS_BYTES


def _read_shapes(base: BaseModelEntry) -> BaseShapes:
    directory = find_directory(base)
    shapes = None if directory is None else read_base_shapes(directory)
    if shapes is None:
        raise InvalidRequest(
            f"The sizes of the base model {base.name} are not known to this server: its files are not here yet, or "
            "they are quantised. Once its engine has loaded unquantised weights, adapters can be imported for it.",
            param="base_model",
            code="base_model_unavailable",
        )
    return shapes
