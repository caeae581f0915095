"""What the worker works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Engine

from inference.engine import AdapterRef
from server.base_models import BaseModelEntry, BaseModels
from server.db.tables import JobRow
from server.fine_tuning.estimates.estimate import Planning
from server.launchers.launcher import Launcher
from server.placement.sizing import Placement
from server.settings import Settings
from server.storage.blob_store import BlobStore
from server.storage.token_cache import TokenCache
from trainer.contract.run_directory import RunDirectory


class AdapterGate(Protocol):
    """The worker's way to the engines, which belong to the API process."""

    def verify(self, adapter: AdapterRef) -> None:
        """Have the engine load the adapter and answer with it.

        Raises:
            AdapterRejected: it never will.
            EngineUnavailable: try again later.
        """
        ...

    def forget(self, engine: str, name: str) -> None:
        """Have the engine, named as its base or full model, unload the adapter; afterwards its files may go.

        Raises:
            EngineUnavailable: try again later.
        """
        ...


@dataclass(frozen=True)
class WorkerServices:
    settings: Settings
    database: Engine
    blobs: BlobStore
    base_models: BaseModels
    launcher: Launcher
    adapters: AdapterGate
    planning: Planning  # of this machine; what was measured on it is looked up for each job
    clock: Callable[[], float]  # unix seconds
    placement: Placement = field(default_factory=Placement)  # of engines and trainers on this machine

    @property
    def tokens(self) -> TokenCache:
        return TokenCache(self.settings.tokenized, limit_bytes=self.settings.token_cache_gib * 1024**3)

    def run_directory(self, job: JobRow, attempt: int | None = None) -> RunDirectory:
        """Of an attempt; by default the current one."""
        return RunDirectory(self.settings.runs / job.id / str(job.attempt if attempt is None else attempt))

    def check_directory(self, job: JobRow) -> RunDirectory:
        return RunDirectory(self.settings.runs / job.id / "check")

    def base_of(self, job: JobRow) -> BaseModelEntry | None:
        """The job's base model; None if the operator has taken it away since."""
        return self.base_models.find(job.base_model)
