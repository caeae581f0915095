"""The adapters of one engine process: loaded on demand, checked, and only then used; the acting side of residency."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

from inference.adapter_files import file_states
from inference.engine import AdapterRef, AdapterRejected, EngineError, EngineUnavailable
from inference.rejections import FileStates, Rejections
from inference.report import AdapterReport, RejectionReport
from inference.residency import Residency
from inference.vllm.loading import AdapterLoader
from inference.vllm.resident import Lease, Resident

_LOG = logging.getLogger(__name__)
_ABORT_S = 1.0  # for requests that were told to end, some of them in other processes, until they have


@dataclass(frozen=True)
class AdapterLimits:
    max_resident: int
    max_rank: int
    room_timeout_s: float = 60.0  # how long a load waits while every resident adapter is in use
    drain_timeout_s: float = 10.0  # how long forgetting an adapter waits for the answers it is giving
    watch_interval_s: float = 0.5  # how soon a new engine process is noticed where nobody asks


@dataclass(eq=False)
class _Load:
    """The loading of one adapter, and how many requests wait for it."""

    makes_room: bool  # False: only if there is a place free
    task: "asyncio.Task[Resident]" = field(init=False)
    waiting: int = 0


class LoadedAdapters:
    """What this process of ours did to that process of the engine. Belongs to one event loop."""

    def __init__(self, loader: AdapterLoader, limits: AdapterLimits) -> None:
        self._loader = loader
        self._limits = limits
        self._residency = Residency(limits.max_resident)
        self._residents: dict[str, Resident] = {}  # of every resident name
        self._rejections = Rejections()
        self._released = _Signal()  # an adapter may be unused now, or be asked back
        self._loading: dict[str, _Load] = {}
        self._leases: set[Lease] = set()
        self._closing: set[str] = set()  # names being forgotten
        self._is_retired = False

    def use(self, adapter: AdapterRef, *, makes_room: bool = True) -> "_Use":
        """Make an adapter resident, and keep it so for the length of the context.

        Raises:
            AdapterRejected, EngineUnavailable: as the port says.
        """
        return _Use(self, adapter, makes_room=makes_room)

    def pin(self, adapter: AdapterRef) -> Resident | None:
        """Pin an adapter that is resident."""
        name = adapter.name
        if self._is_retired:
            raise EngineUnavailable("the engine was restarted")
        if name in self._closing:
            raise AdapterRejected("the adapter is being removed")
        resident = self._residents.get(name)
        if resident is not None:
            self._residency.pin(name)
        return resident

    def begin_use(self, resident: Resident, adapter: AdapterRef, asked_at: float) -> Lease:
        """Begin to use an adapter that was pinned for it."""
        lease = Lease(resident, asked_at)
        self._leases.add(lease)
        self._released.fire()  # who waits for room asks this one back, too: a borrower may keep it for later
        if resident.adapter.sha256 != adapter.sha256:
            self.end_use(lease)
            raise AdapterRejected("another adapter is in use under the name")
        return lease

    def end_use(self, lease: Lease) -> None:
        self._leases.discard(lease)
        self._residency.unpin(lease.resident.place)
        self._released.fire()

    def has_free_place(self) -> bool:
        """Whether an adapter can be loaded without another making way."""
        return self._residency.has_free_place()

    async def until_idle(self) -> None:
        """Wait until nothing is being loaded."""
        while self._loading:
            await self._released.wait()

    def lost(self, name: str) -> None:
        """Note that the engine does not know an adapter after all."""
        self._drop(name)

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
            self._drop(name)
            self._rejections.forget(name)
            await self._loader.unload(name)
        finally:
            self._closing.discard(name)

    @property
    def is_retired(self) -> bool:
        return self._is_retired

    def retire(self) -> list[AdapterRef]:
        """Note that the process has ended. Give what it held and was not forgetting, most recently used first."""
        self._is_retired = True
        names = reversed(self._residency.names())
        return [self._residents[name].adapter for name in names if name not in self._closing]

    def report(self) -> tuple[tuple[AdapterReport, ...], tuple[RejectionReport, ...]]:
        """Adapters least recently used first, rejections latest last."""
        adapters = tuple(self._residents[name].describe() for name in self._residency.names())
        return adapters, self._rejections.report()

    async def close(self) -> None:
        tasks = [load.task for load in self._loading.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def pin_loaded(self, adapter: AdapterRef, *, makes_room: bool) -> Resident:
        """Load it, or wait for the load under way; give it pinned.

        Whoever waits may give up; the load goes on for the others.
        """
        load = self._loading.get(adapter.name)
        if load is None:
            load = self._loading[adapter.name] = _Load(makes_room)
            load.task = asyncio.get_running_loop().create_task(self._load(adapter, load))
            load.task.add_done_callback(lambda task: self._load_ended(adapter.name, task))
        load.waiting += 1
        load.makes_room |= makes_room
        try:
            return await asyncio.shield(load.task)
        except asyncio.CancelledError:
            if load.task.cancelled():
                raise EngineUnavailable("the engine was restarted") from None
            load.waiting -= 1
            if load.task.done() and load.task.exception() is None:
                self._residency.unpin(load.task.result().place)
            raise

    def _load_ended(self, name: str, task: asyncio.Task[Resident]) -> None:
        self._loading.pop(name, None)
        self._released.fire()
        if not task.cancelled():
            task.exception()  # seen by those who wait; nobody may be left

    async def _load(self, adapter: AdapterRef, load: _Load) -> Resident:
        files = await asyncio.to_thread(file_states, adapter.directory)
        if (reason := self._rejections.reason(adapter, files)) is not None:
            raise AdapterRejected(reason)
        try:
            return await self._load_anew(adapter, load, files)
        except AdapterRejected as rejected:
            self._rejections.add(adapter, files, reason=str(rejected), at=time.time())
            _LOG.warning("%s is not served: %s", adapter.name, rejected)
            raise

    async def _load_anew(self, adapter: AdapterRef, load: _Load, files: FileStates) -> Resident:
        began = time.monotonic()
        await self._loader.check_files(adapter)
        await self._loader.sweep()
        await self._make_room(adapter.name, load)
        try:
            await self._loader.load(adapter)
            loaded = time.monotonic()
            examination = await self._loader.examine(adapter)
            if await asyncio.to_thread(file_states, adapter.directory) != files:
                raise AdapterRejected("the adapter's files were changed while it was loaded")
        except BaseException:
            self._residency.abandon(adapter.name)
            with suppress(EngineError):
                await self._loader.unload(adapter.name)
            raise
        now = time.monotonic()
        place = self._residency.admit(adapter.name, pins=load.waiting)
        resident = Resident(adapter, place, examination, time.time(), load_s=now - began, check_s=now - loaded)
        self._residents[adapter.name] = resident
        self._rejections.forget(adapter.name)
        return resident

    async def _make_room(self, name: str, load: _Load) -> None:
        if not load.makes_room and not self._residency.has_free_place():
            raise EngineUnavailable("every place in the engine is taken")
        leaving = self._residency.reserve(name)
        if leaving is None:
            try:
                async with asyncio.timeout(self._limits.room_timeout_s):
                    while (leaving := self._residency.reserve(name)) is None:
                        for lease in self._leases:
                            lease.ask_back()
                        await self._released.wait()
            except TimeoutError:
                raise EngineUnavailable("every adapter the engine can hold is in use") from None
        for other in leaving:
            del self._residents[other]
        for other in leaving:
            await self._loader.unload(other)

    async def _drain(self, name: str) -> None:
        for lease in self._leases_of(name):
            lease.ask_back()
        with suppress(TimeoutError):
            return await self._until_unused(name, self._limits.drain_timeout_s)
        for lease in self._leases_of(name):
            lease.end()
        with suppress(TimeoutError):
            await self._until_unused(name, _ABORT_S)

    async def _until_unused(self, name: str, timeout_s: float) -> None:
        """Raises: TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._residency.pins(name):
                await self._released.wait()

    def _leases_of(self, name: str) -> list[Lease]:
        return [lease for lease in self._leases if lease.resident.adapter.name == name]

    def _drop(self, name: str) -> None:
        self._residency.drop(name)
        self._residents.pop(name, None)


class _Use:
    """`LoadedAdapters.use` as a context; one made of a generator costs a request four times as much."""

    def __init__(self, adapters: LoadedAdapters, adapter: AdapterRef, *, makes_room: bool) -> None:
        self._adapters = adapters
        self._adapter = adapter
        self._makes_room = makes_room

    async def __aenter__(self) -> Lease:
        asked_at = time.monotonic()
        resident = self._adapters.pin(self._adapter)
        if resident is None:
            resident = await self._adapters.pin_loaded(self._adapter, makes_room=self._makes_room)
        self._lease = self._adapters.begin_use(resident, self._adapter, asked_at)
        return self._lease

    async def __aexit__(self, *_: object) -> None:
        self._adapters.end_use(self._lease)


class _Signal:
    """Wakes everybody who waits for it, each time it is fired."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None  # of those who wait now

    def fire(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()
