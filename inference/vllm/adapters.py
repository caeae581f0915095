"""The adapters of one engine process: loaded on demand, checked, and only then used; the acting side of residency."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from inference.adapter_files import check_adapter, check_numbers, has_weights_of_note
from inference.engine import AdapterRef, AdapterRejected, EngineError, EngineRefusal, EngineUnavailable
from inference.residency import Place, Residency
from inference.vllm.client import VllmClient

_LOG = logging.getLogger(__name__)
_HEALTH_TIMEOUT_S = 5.0
# Any text does: an adapter that is applied moves the probability of something.
_PROBE = "The quick brown fox jumps over the lazy dog. How many of its 12 words are there? {} <b>42</b> été"


@dataclass(frozen=True)
class AdapterLimits:
    max_resident: int
    max_rank: int
    room_timeout_s: float = 60.0  # how long a load waits while every resident adapter is in use
    drain_timeout_s: float = 10.0  # how long forgetting an adapter waits for the answers it is giving


@dataclass(eq=False)
class Lease:
    """One request's hold on a resident adapter."""

    name: str
    abort: Callable[[], None] | None = None  # ends the request's answer, when its adapter must go at once


class _Load:
    """The loading of one adapter, and how many requests wait for it."""

    task: asyncio.Task[Place]
    waiting: int = 0


class LoadedAdapters:
    """What this process of ours did to that process of the engine. Belongs to one event loop."""

    def __init__(self, client: VllmClient, base_model: str, limits: AdapterLimits) -> None:
        self._client = client
        self._base_model = base_model
        self._limits = limits
        self._residency = Residency(limits.max_resident)
        self._operations = asyncio.Lock()  # one load or unload at a time, in the order they were decided
        self._released = _Signal()  # an adapter may be unused now
        self._loading: dict[str, _Load] = {}
        self._leases: set[Lease] = set()
        self._closing: set[str] = set()  # names being forgotten
        self._is_swept = False
        self._of_base: list[dict[str, float]] | None = None  # what the base says to the probe

    @asynccontextmanager
    async def use(self, adapter: AdapterRef) -> AsyncIterator[Lease]:
        """Make an adapter resident, and keep it so for the length of the context.

        Raises:
            AdapterRejected, EngineUnavailable: as the port says.
        """
        name = adapter.name
        if name in self._closing:
            raise AdapterRejected("the adapter is being removed")
        if self._residency.is_resident(name):
            place = self._residency.pin(name)
        else:
            place = await self._wait_for_load(adapter)
        lease = Lease(name)
        self._leases.add(lease)
        try:
            yield lease
        finally:
            self._leases.discard(lease)
            self._residency.unpin(place)
            self._released.fire()

    def lost(self, name: str) -> None:
        """Note that the engine does not know an adapter after all."""
        self._residency.drop(name)

    async def forget(self, name: str) -> None:
        """Close the door to an adapter, end what it still answers, and unload it. The door opens again at the end.

        Raises:
            EngineUnavailable: the engine does not answer, so it may still read the files.
        """
        self._closing.add(name)
        try:
            if (load := self._loading.get(name)) is not None:
                await asyncio.wait([load.task])
            await self._drain(name)
            self._residency.drop(name)
            await self._unload(name)
        finally:
            self._closing.discard(name)

    async def close(self) -> None:
        tasks = [load.task for load in self._loading.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait_for_load(self, adapter: AdapterRef) -> Place:
        """Load it, or wait for the load under way; give its place, pinned.

        Whoever waits may give up; the load goes on for the others.
        """
        load = self._loading.get(adapter.name)
        if load is None:
            load = self._loading[adapter.name] = _Load()
            load.task = asyncio.get_running_loop().create_task(self._load(adapter, load))
            load.task.add_done_callback(lambda task: self._load_ended(adapter.name, task))
        load.waiting += 1
        try:
            return await asyncio.shield(load.task)
        except asyncio.CancelledError:
            if load.task.cancelled():
                raise EngineUnavailable("the engine was restarted") from None
            load.waiting -= 1
            if load.task.done() and load.task.exception() is None:
                self._residency.unpin(load.task.result())
            raise

    def _load_ended(self, name: str, task: asyncio.Task[Place]) -> None:
        self._loading.pop(name, None)
        self._released.fire()
        if not task.cancelled():
            task.exception()  # seen by those who wait; nobody may be left

    async def _load(self, adapter: AdapterRef, load: _Load) -> Place:
        if adapter.base_model != self._base_model:
            raise AdapterRejected("the adapter belongs to another base model")
        await asyncio.to_thread(check_adapter, adapter.directory, self._limits.max_rank)
        await asyncio.to_thread(check_numbers, adapter.directory)
        await self._sweep()
        await self._make_room(adapter.name)
        try:
            await self._load_into_engine(adapter)
            await self._check_applied(adapter)
        except BaseException:
            self._residency.abandon(adapter.name)
            with suppress(EngineError):
                await self._unload(adapter.name)
            raise
        return self._residency.admit(adapter.name, pins=load.waiting)

    async def _sweep(self) -> None:
        """Unload what an earlier process of ours left in the engine: its books are lost, and reloading is cheap."""
        async with self._operations:
            if self._is_swept:
                return
            for name in await self._client.list_adapters():
                await self._client.unload_adapter(name)
            self._is_swept = True

    async def _make_room(self, name: str) -> None:
        leaving = self._residency.reserve(name)
        if leaving is None:
            try:
                async with asyncio.timeout(self._limits.room_timeout_s):
                    while (leaving := self._residency.reserve(name)) is None:
                        await self._released.wait()
            except TimeoutError:
                raise EngineUnavailable("every adapter the engine can hold is in use") from None
        for other in leaving:
            await self._unload(other)

    async def _load_into_engine(self, adapter: AdapterRef) -> None:
        async with self._operations:
            try:
                try:
                    await self._client.load_adapter(adapter.name, adapter.directory)
                except EngineRefusal as refusal:
                    if refusal.status != 400:
                        raise
                    # Its name is taken by a load whose answer never reached us.
                    await self._client.unload_adapter(adapter.name)
                    await self._client.load_adapter(adapter.name, adapter.directory)
            except EngineRefusal as refusal:
                raise await self._rejection(refusal, "the engine refused the adapter's files") from refusal

    async def _unload(self, name: str) -> None:
        async with self._operations:
            await self._client.unload_adapter(name)

    async def _check_applied(self, adapter: AdapterRef) -> None:
        """Refuse an adapter that the engine loaded but does not apply: the base must never answer in its place."""
        try:
            if self._of_base is None:
                self._of_base = await self._client.continuations(self._base_model, _PROBE)
            of_adapter = await self._client.continuations(adapter.name, _PROBE)
        except EngineRefusal as refusal:
            raise await self._rejection(refusal, "the engine cannot answer with the adapter") from refusal
        if of_adapter == self._of_base and await asyncio.to_thread(has_weights_of_note, adapter.directory):
            raise AdapterRejected("the engine loaded the adapter but does not apply it")

    async def _drain(self, name: str) -> None:
        try:
            async with asyncio.timeout(self._limits.drain_timeout_s):
                while self._residency.pins(name):
                    await self._released.wait()
        except TimeoutError:
            for lease in list(self._leases):
                if lease.name == name and lease.abort is not None:
                    lease.abort()

    async def _rejection(self, refusal: EngineRefusal, reason: str) -> EngineError:
        """Tell an adapter's fault from an engine that is dying."""
        if refusal.status >= 500 and not await self._client.is_healthy(_HEALTH_TIMEOUT_S):
            return EngineUnavailable("the engine failed")
        _LOG.warning("%s (status %d)", reason, refusal.status)
        return AdapterRejected(reason)


class _Signal:
    """Wakes everybody who waits for it, each time it is fired."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()
