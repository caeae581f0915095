"""The port, `InferenceEngine`, on whatever vLLM process listens on a unix socket; it may be replaced at any time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from inference.engine import AdapterRef, EngineHealth, EngineRefusal, EngineRequest, EngineUnavailable, Take
from inference.lending.borrowed import BorrowedAdapters
from inference.lending.borrower import Borrower
from inference.lending.lease import Lease
from inference.report import EngineReport
from inference.vllm.adapters import AdapterLimits, LoadedAdapters
from inference.vllm.client import VllmClient
from inference.vllm.loading import AdapterChecks, AdapterLoader
from inference.vllm.own_weights import OwnWeights
from inference.vllm.restoring import Restoring

_HEALTH_TIMEOUT_S = 2.0
_SILENCE_TIMEOUT_S = 600.0  # an engine that says nothing for so long is given up; OpenAI's clients wait as long


@dataclass(frozen=True)
class _Process:
    """The engine process that listens now. What is known of it ends with it."""

    identity: tuple[int, int]
    client: VllmClient
    adapters: LoadedAdapters | BorrowedAdapters | OwnWeights

    async def close(self) -> None:
        await self.adapters.close()
        await self.client.close()


class VllmEngine:
    """An `InferenceEngine`. Its methods belong to one event loop; call `close` at the end."""

    def __init__(
        self,
        *,
        base_model: str,
        socket: Path,
        limits: AdapterLimits,
        checks: AdapterChecks | None = None,
        borrower: Borrower | None = None,
        is_full: bool = False,
        silence_timeout_s: float = _SILENCE_TIMEOUT_S,
    ) -> None:
        self._base_model = base_model
        self._borrower = borrower  # of whom the adapters are; None: they are kept here
        self._is_full = is_full  # `base_model` is then the one model that it serves
        self._socket = socket
        self._limits = limits
        self._checks = checks or AdapterChecks()
        self._silence_timeout_s = silence_timeout_s
        self._current: _Process | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._restoring = Restoring(limits.max_resident)
        self._watching: asyncio.Task[None] | None = None

    async def ensure_adapter(self, adapter: AdapterRef) -> None:
        async with self._process().adapters.use(adapter):
            pass

    @asynccontextmanager
    async def lend(self, adapter: AdapterRef) -> AsyncIterator[Lease]:
        """Keep an adapter resident for another process of ours, as `inference.lending` says."""
        async with self._process().adapters.use(adapter) as lease:
            yield lease

    def lost(self, name: str) -> None:
        """Note that the engine does not know an adapter that was lent."""
        if self._current is not None:
            self._current.adapters.lost(name)

    async def forget_adapter(self, name: str) -> None:
        if self._borrower is not None:
            await self._borrower.forget(self._base_model, name)
            return
        try:
            if self._identity() is None:
                return  # an engine that is not there holds nothing
            process = self._process()
            try:
                await process.adapters.forget(name)
            except EngineUnavailable:
                if self._identity() == process.identity and await _somebody_listens(self._socket):
                    raise
        finally:
            self._restoring.forget(name)

    async def answer(self, request: EngineRequest, adapter: AdapterRef | None, take: Take) -> None:
        process = self._process()
        if adapter is None:
            await process.client.answer(request, take, None)
            return
        for may_be_lost in (True, False):
            async with process.adapters.use(adapter) as lease:
                try:
                    await process.client.answer(request, take, lease)
                    return
                except EngineRefusal as refusal:
                    if refusal.status != 404 or not may_be_lost:
                        raise
                    # The engine does not know what we believed resident. Nothing was answered yet: load it again.
                    process.adapters.lost(adapter.name)

    async def health(self) -> EngineHealth:
        if self._borrower is not None and not self._borrower.is_connected:
            return EngineHealth(ready=False, detail="the process that keeps its adapters is not there")
        try:
            process = self._process()
        except EngineUnavailable as error:
            return EngineHealth(ready=False, detail=str(error))
        if await process.client.is_healthy(_HEALTH_TIMEOUT_S):
            return EngineHealth(ready=True, detail="ready")
        return EngineHealth(ready=False, detail="the engine does not answer")

    async def report(self) -> EngineReport:
        health = await self.health()
        adapters, rejected = ((), ()) if self._current is None else self._current.adapters.report()
        return EngineReport(health.ready, health.detail, adapters, rejected, tuple(self._restoring.wanted))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        self._retire()
        if self._closing:
            await asyncio.wait(self._closing)

    def _process(self) -> _Process:
        """Give the process that listens now. A new one begins with empty books.

        Raises:
            EngineUnavailable: none listens.
        """
        if self._current is not None and self._current.client.is_connected:
            return self._current  # what it is connected to is there
        identity = self._identity()
        if self._current is not None and self._current.identity != identity:
            self._retire()
        if identity is None:
            raise EngineUnavailable("the engine is not running")
        if self._current is None:
            client = VllmClient(self._socket, self._silence_timeout_s)
            self._current = _Process(identity, client, self._begin_books(client))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        return self._current

    def _begin_books(self, client: VllmClient) -> LoadedAdapters | BorrowedAdapters | OwnWeights:
        if self._is_full:
            return OwnWeights(client, self._checks.examiner, drain_timeout_s=self._limits.drain_timeout_s)
        if self._borrower is not None:
            return BorrowedAdapters(self._borrower, self._base_model)
        loader = AdapterLoader(client, self._base_model, self._limits.max_rank, self._checks)
        return LoadedAdapters(loader, self._limits)

    async def _watch(self) -> None:
        """Notice a new process without anybody's request, and give it back the adapters that the last one had."""
        while True:
            await asyncio.sleep(self._limits.watch_interval_s)
            with suppress(EngineUnavailable):
                process = self._process()
                if not self._restoring.wanted or not isinstance(process.adapters, LoadedAdapters):
                    continue
                if await process.client.is_healthy(_HEALTH_TIMEOUT_S):
                    await self._restoring.restore(process.adapters)

    def _identity(self) -> tuple[int, int] | None:
        """Tell one engine process from the next: each makes a socket of its own. None: there is none."""
        try:
            status = self._socket.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    def _retire(self) -> None:
        if self._current is None:
            return
        self._restoring.add(self._current.adapters.retire())
        task = asyncio.get_running_loop().create_task(self._current.close())
        self._current = None
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _somebody_listens(socket: Path) -> bool:
    """Tell a silent engine from a dead one, whose socket is still there."""
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    writer.close()
    return True
