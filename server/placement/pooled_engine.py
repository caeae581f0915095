"""An engine that may be away: what is asked of it waits until it is there, up to a limit."""

import asyncio
import time

from inference.engine import AdapterRef, EngineHealth, EngineRequest, EngineUnavailable, InferenceEngine, Take
from inference.report import EngineReport
from server.placement.board import EngineBoard
from server.placement.facts import EngineState, Why
from server.placement.standing import Refusal, Standing, describe, over_limit, refusal_of, retry_after_s

_LOOK_S = 0.2
_NOT_STARTED = Standing(EngineState.STOPPED, 0.0, Why.ON_DEMAND)


class PooledEngine:
    """An `InferenceEngine` in front of another, which is started and stopped by plan; `on_demand`: when it is asked."""

    def __init__(
        self,
        base_model: str,
        engine: InferenceEngine,
        board: EngineBoard,
        *,
        wait_s: float,
        is_only: bool = False,
        on_demand: bool = False,
    ) -> None:
        self._base_model = base_model
        self._engine = engine
        self._board = board
        self._wait_s = wait_s
        self._is_only = is_only
        self._unheard_of = _NOT_STARTED if on_demand else None  # what one is of which nothing is known yet

    async def ensure_adapter(self, adapter: AdapterRef) -> None:
        await self._until_ready()
        with self._board.answering(self._base_model):
            await self._engine.ensure_adapter(adapter)

    async def forget_adapter(self, name: str) -> None:
        await self._engine.forget_adapter(name)  # one that is away holds nothing

    async def answer(self, request: EngineRequest, adapter: AdapterRef | None, take: Take) -> None:
        if not self._board.says_ready(self._base_model):
            await self._until_ready()
        with self._board.answering(self._base_model):
            try:
                await self._engine.answer(request, adapter, take)
            except EngineUnavailable as error:
                if error.retry_after_s is None:
                    error.retry_after_s = await self._restart_s()
                raise

    async def health(self) -> EngineHealth:
        standing = await self._board.standing(self._base_model)
        if standing is None or (standing.is_wanted and not _is_away(standing)):
            return await self._engine.health()
        if standing.is_wanted:  # it may answer already: requests are let through once the board says so too
            return EngineHealth(ready=False, detail=describe(standing))
        is_missed = self._is_only and standing.state is EngineState.FAILED
        return EngineHealth(ready=False, detail=describe(standing), is_wanted=is_missed)

    async def report(self) -> EngineReport:
        return await self._engine.report()

    async def close(self) -> None:
        await self._board.close()
        await self._engine.close()

    async def _until_ready(self) -> None:
        """Raises: EngineUnavailable: it died, cannot be started, or did not come in time."""
        standing = await self._standing()
        if not _is_away(standing):
            return
        deadline = time.monotonic() + self._wait_s
        with self._board.waiting(self._base_model):
            while standing is not None and _is_away(standing):
                refusal = refusal_of(standing, time.time())
                if refusal is None and time.monotonic() >= deadline:
                    refusal = over_limit(standing, time.time())
                if refusal is not None:
                    raise _unavailable(refusal)
                await asyncio.sleep(_LOOK_S)
                standing = await self._standing()

    async def _standing(self) -> Standing | None:
        return await self._board.standing(self._base_model) or self._unheard_of

    async def _restart_s(self) -> int | None:
        standing = await self._board.standing(self._base_model)
        return None if standing is None else retry_after_s(standing, time.time())


def _is_away(standing: Standing | None) -> bool:
    """One of which nothing is known is asked itself."""
    return standing is not None and standing.state is not EngineState.READY


def _unavailable(refusal: Refusal) -> EngineUnavailable:
    error = EngineUnavailable(refusal.reason)
    error.retry_after_s = refusal.retry_after_s
    return error
