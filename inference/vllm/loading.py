"""How one adapter gets into one engine process: its files are looked at, it is loaded, and it shows who it is."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.adapter_files import check_adapter, check_weights, has_weights_of_note
from inference.base_shapes import BaseShapes
from inference.engine import (
    AdapterRef,
    AdapterRejected,
    EngineError,
    EngineRefusal,
    EngineUnavailable,
    Examiner,
)
from inference.examination import Examination, Proof
from inference.vllm.client import VllmClient

_LOG = logging.getLogger(__name__)
_HEALTH_TIMEOUT_S = 5.0
# Any text does: an adapter that is applied moves the probability of something.
_PROBE = "The quick brown fox jumps over the lazy dog. How many of its 12 words are there? {} <b>42</b> été"


@dataclass(frozen=True)
class AdapterChecks:
    """What the adapters of one base model are held against."""

    base_shapes: Callable[[], BaseShapes | None] = lambda: None  # of the base model; it may not be on the disk yet
    examiner: Examiner | None = None  # None: adapters have nothing to show but that they are applied


class AdapterLoader:
    """What is done to that process of the engine, one load or unload at a time. Belongs to one event loop."""

    def __init__(self, client: VllmClient, base_model: str, max_rank: int, checks: AdapterChecks) -> None:
        self._client = client
        self._base_model = base_model
        self._max_rank = max_rank
        self._checks = checks
        self._operations = asyncio.Lock()  # in the order they were decided
        self._is_swept = False
        self._of_base: list[dict[str, float]] | None = None  # what the base says to the probe

    async def check_files(self, adapter: AdapterRef) -> None:
        """Look at everything that can be seen without the engine.

        Raises:
            AdapterRejected
        """
        if adapter.base_model != self._base_model:
            raise AdapterRejected("the adapter belongs to another base model")
        await asyncio.to_thread(self._check_files, adapter)

    async def sweep(self) -> None:
        """Unload what an earlier process of ours left in the engine: its books are lost, and reloading is cheap."""
        async with self._operations:
            if self._is_swept:
                return
            for name in await self._client.list_adapters():
                await self._client.unload_adapter(name)
            self._is_swept = True

    async def load(self, adapter: AdapterRef) -> None:
        """Raises: AdapterRejected, EngineUnavailable."""
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

    async def unload(self, name: str) -> None:
        """Raises: EngineRefusal, EngineUnavailable."""
        async with self._operations:
            await self._client.unload_adapter(name)

    async def examine(self, adapter: AdapterRef) -> Examination:
        """Have a loaded adapter show that it is the one it should be, or at least that it is applied.

        Raises:
            AdapterRejected, EngineUnavailable
        """

        async def score(texts: Sequence[Sequence[int]]) -> list[list[float]]:
            try:
                return await self._client.score(adapter.name, texts)
            except EngineRefusal as refusal:
                raise await self._rejection(refusal, "the engine cannot answer with the adapter") from refusal

        examiner = self._checks.examiner
        examination = Examination(Proof.NONE) if examiner is None else await examiner.examine(adapter, score)
        if examination.proof is not Proof.REPRODUCED:
            await self._check_applied(adapter)
        return examination

    def _check_files(self, adapter: AdapterRef) -> None:
        check_adapter(adapter.directory, self._max_rank, self._checks.base_shapes())
        check_weights(adapter.directory, adapter.sha256)

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

    async def _rejection(self, refusal: EngineRefusal, reason: str) -> EngineError:
        """Tell an adapter's fault from an engine that is dying."""
        if refusal.status >= 500 and not await self._client.is_healthy(_HEALTH_TIMEOUT_S):
            return EngineUnavailable("the engine failed")
        _LOG.warning("%s (status %d)", reason, refusal.status)
        return AdapterRejected(reason)
