"""Settings → services: the only place that names an implementation of a port."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine

from inference.engine import InferenceEngine
from server.base_models import BaseModels, load_base_models
from server.db.engine import open_database
from server.db.migrate import migrate
from server.settings import Settings
from server.storage.blob_store import BlobStore
from server.storage.local_directory import LocalDirectory


@dataclass(frozen=True)
class Services:
    """What a process of the service works with."""

    settings: Settings
    database: Engine
    blobs: BlobStore
    base_models: BaseModels
    engines: Mapping[str, InferenceEngine] = field(default_factory=dict)  # by the base model's own name; API only


def build_services(settings: Settings) -> Services:
    """Open the home directory, with the database brought to this version. Safe in several processes at once.

    Raises:
        BaseModelsInvalid, DatabaseTooNew: the message says what to do.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    migrate(settings.database)
    return Services(
        settings=settings,
        database=open_database(settings.database),
        blobs=LocalDirectory(settings.blobs),
        base_models=load_base_models(settings.base_models_file),
    )
