"""The one model of an engine that was started for it: nothing is loaded, but it proves itself before it is used."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from inference.adapter_files import file_states
from inference.engine import AdapterRef, AdapterRejected, EngineRefusal, EngineUnavailable, Examiner
from inference.examination import Examination, Proof
from inference.report import AdapterReport, RejectionReport
from inference.residency import Place
from inference.vllm.client import VllmClient
from inference.vllm.resident import Lease, Resident

WEIGHTS = "model.safetensors"

_LOG = logging.getLogger(__name__)
_HEALTH_TIMEOUT_S = 5.0
_ABORT_S = 1.0


class OwnWeights:
    """Stands where the loaded adapters of a base's engine do. Belongs to one event loop and one process of the engine.

    The engine has read the files when it started, and this reads them later: what was changed between is found by the
    golden samples.
    """

    def __init__(self, client: VllmClient, examiner: Examiner | None, *, drain_timeout_s: float) -> None:
        self._client = client
        self._examiner = examiner
        self._drain_timeout_s = drain_timeout_s
        self._proving = asyncio.Lock()
        self._resident: Resident | None = None  # once it is proven
        self._rejection: RejectionReport | None = None
        self._leases: set[Lease] = set()
        self._unused = asyncio.Event()
        self._is_closed = False
        self._is_retired = False

    @asynccontextmanager
    async def use(self, adapter: AdapterRef) -> AsyncIterator[Lease]:
        """Have the model proven, and keep count of who uses it.

        Raises:
            AdapterRejected, EngineUnavailable: as the port says.
        """
        asked_at = time.monotonic()
        if self._is_retired:
            raise EngineUnavailable("the engine was restarted")
        if self._is_closed:
            raise AdapterRejected("the model is being removed")
        resident = await self._prove(adapter)
        if resident.adapter != adapter:
            raise AdapterRejected("another model is served under the name")
        lease = Lease(resident, asked_at)
        self._leases.add(lease)
        resident.place.pins += 1
        try:
            yield lease
        finally:
            self._leases.discard(lease)
            resident.place.pins -= 1
            if not self._leases:
                self._unused.set()

    def lost(self, name: str) -> None:
        """The engine does not know its own model: that does not come right by itself."""
        _LOG.warning("the engine of %s does not know it", name)

    async def forget(self, _name: str) -> None:
        """Close the door for good, and end what is still answered. The engine itself is ended by whoever started it."""
        self._is_closed = True
        with suppress(TimeoutError):
            return await self._until_unused(self._drain_timeout_s)
        for lease in self._leases:
            if lease.abort is not None:
                lease.abort()
        with suppress(TimeoutError):
            await self._until_unused(_ABORT_S)

    def retire(self) -> list[AdapterRef]:
        """Note that the process has ended. There is nothing to give to the next one."""
        self._is_retired = True
        return []

    def report(self) -> tuple[tuple[AdapterReport, ...], tuple[RejectionReport, ...]]:
        served = () if self._resident is None else (self._resident.describe(),)
        return served, () if self._rejection is None else (self._rejection,)

    async def close(self) -> None:
        """Nothing of it goes on by itself."""

    async def _prove(self, adapter: AdapterRef) -> Resident:
        async with self._proving:  # the others wait for the first
            if self._rejection is not None:
                raise AdapterRejected(self._rejection.reason)
            if self._resident is None:
                try:
                    self._resident = await self._examine(adapter)
                except AdapterRejected as rejected:
                    self._rejection = RejectionReport(adapter.name, time.time(), str(rejected))
                    _LOG.warning("%s is not served: %s", adapter.name, rejected)
                    raise
            return self._resident

    async def _examine(self, adapter: AdapterRef) -> Resident:
        began, files = time.monotonic(), await asyncio.to_thread(file_states, adapter.directory)
        await asyncio.to_thread(_check_weights, adapter)
        read = time.monotonic()
        examination = await self._ask(adapter)
        if await asyncio.to_thread(file_states, adapter.directory) != files:
            raise AdapterRejected("the model's files were changed while it was looked at")
        now = time.monotonic()
        place = Place(adapter.name, is_resident=True)
        return Resident(adapter, place, examination, time.time(), load_s=now - began, check_s=now - read)

    async def _ask(self, adapter: AdapterRef) -> Examination:
        async def score(texts: Sequence[Sequence[int]]) -> list[list[float]]:
            try:
                return await self._client.score(adapter.name, texts)
            except EngineRefusal as refusal:
                if refusal.status >= 500 and not await self._client.is_healthy(_HEALTH_TIMEOUT_S):
                    raise EngineUnavailable("the engine failed") from refusal
                raise AdapterRejected("the engine cannot answer with the model") from refusal

        if self._examiner is None:
            return Examination(Proof.NONE)
        examination = await self._examiner.examine(adapter, score)
        if examination.proof is Proof.NONE:
            raise AdapterRejected("the model has no golden samples to prove itself by")
        return examination

    async def _until_unused(self, timeout_s: float) -> None:
        """Raises: TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._leases:
                self._unused.clear()
                await self._unused.wait()


def _check_weights(adapter: AdapterRef) -> None:
    if _sha256(adapter.directory / WEIGHTS) != adapter.sha256:
        raise AdapterRejected(f"the model's {WEIGHTS} is not the one that was published")


def _sha256(path: Path) -> str:
    """Raises: AdapterRejected: it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AdapterRejected(f"the model's {WEIGHTS} is missing or cannot be read") from error
