"""A batch that runs: its input, its results and what is under way; opened from what is on the disk."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine

from server.base_models import BaseModels
from server.batches import repository
from server.batches.asking import Asker
from server.batches.input_file import Fault, InputIndex, index_input
from server.batches.input_lines import InputLine
from server.batches.results import Result, ResultsFile
from server.db.tables import BatchRow
from server.models.resolving import Servable, find_servable
from server.storage.blob_store import BlobKey, BlobMissing, BlobStore
from server.vocabulary import BatchStatus

_INPUT, _RESULTS = "input.jsonl", "results"


@dataclass(frozen=True)
class BatchServices:
    """What batches are run with."""

    database: Engine
    blobs: BlobStore
    base_models: BaseModels
    adapters: Path  # where those of fine-tuned models lie
    root: Path  # of the batches' directories
    ask: Asker
    most_at_once: int  # requests of all batches
    most_body_bytes: int
    clock: Callable[[], float]  # unix seconds
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass
class Tries:
    """Of one request."""

    falls: int = 0
    faults: int = 0
    times: int = 0


@dataclass
class Course:
    row: BatchRow  # as it was seen last
    directory: Path
    index: InputIndex
    results: ResultsFile
    input: BinaryIO
    engines: Sequence[str]  # by the place of a model
    arrived: list[Result] = field(default_factory=list)  # not yet durable
    asking: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)  # by request
    tries: dict[int, Tries] = field(default_factory=dict)
    counted_at: float = 0.0
    fault: BaseException | None = None  # in a task of `asking`

    def requests(self) -> Iterator[tuple[str, int]]:
        """Engine and number of those without a result, by model: an engine has its adapters changed seldom."""
        open_ones = [request for request in range(len(self.index)) if not self.results.is_answered[request]]
        for request in sorted(open_ones, key=self.index.models.__getitem__):
            yield self.engines[self.index.models[request]], request

    def unanswered(self) -> Iterator[int]:
        return (request for request, is_answered in enumerate(self.results.is_answered) if not is_answered)

    def read(self, request: int) -> InputLine:
        return self.index.read(self.input, request, self.row.endpoint)

    def close(self) -> None:
        self.results.close()
        self.input.close()


def open_course(services: BatchServices, batch_id: str) -> Course | None:
    """Look through the input, and at what is answered already. None: the batch has ended, perhaps with that.

    Raises: DBAPIError, OSError, BlobStoreError.
    """
    row = repository.find_unfinished(services.database, batch_id)
    if row is None:
        return None
    directory = services.root / row.id
    if row.status is BatchStatus.CANCELLING and row.in_progress_at is None:
        repository.finish(services.database, row.id, BatchStatus.CANCELLED, now=services.clock())
        shutil.rmtree(directory, ignore_errors=True)
        return None
    servable = _Servables(services, row.project_id)
    is_new = row.status is BatchStatus.VALIDATING
    found = _stage(services, row, directory) or index_input(
        directory / _INPUT,
        row.endpoint,
        most_body_bytes=services.most_body_bytes,
        is_model=servable.has if is_new else lambda _: True,
    )
    if not isinstance(found, InputIndex):
        repository.fail(services.database, row.id, found, now=services.clock())
        shutil.rmtree(directory, ignore_errors=True)
        return None
    if is_new:
        model = found.names[0] if len(found.names) == 1 else None
        row = repository.begin(services.database, row.id, total=len(found), model=model, now=services.clock())
    engines = [servable.engine_of(name) for name in found.names]
    results = ResultsFile(directory / _RESULTS, len(found))
    return Course(row, directory, found, results, (directory / _INPUT).open("rb"), engines)


def _stage(services: BatchServices, row: BatchRow, directory: Path) -> list[Fault] | None:
    """Have a link to the input of its own: the file may be deleted meanwhile."""
    staged = directory / _INPUT
    if staged.exists():
        return None
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = repository.find_input(services.database, row, now=services.clock())
    try:
        if file is not None:
            services.blobs.stage(BlobKey(file.id), staged)
            return None
    except BlobMissing:
        pass
    return [Fault("input_file_not_found", "The input file was deleted or has expired.", "input_file_id", None)]


@dataclass
class _Servables:
    """What models of requests mean to the batch's project, each looked up once."""

    services: BatchServices
    project_id: str
    known: dict[str, Servable | None] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def engine_of(self, name: str) -> str:
        """The empty name if there is none: a request is told so when it is sent."""
        found = self._find(name)
        if found is None:
            return ""
        return found.base_model if found.adapter is None else found.adapter.engine

    def _find(self, name: str) -> Servable | None:
        if name not in self.known:
            of = self.services
            self.known[name] = find_servable(of.database, of.base_models, of.adapters, self.project_id, name)
        return self.known[name]
