"""An API process's view of the engines: how they stand, read now and then, and what is asked of them, reported."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from server.placement.facts import EngineState
from server.placement.repository import Demand, placing, read_engines, report_demand
from server.placement.standing import Standing

_LOG = logging.getLogger("tunesmith.api")
_FRESH_S = 0.25
_STALE_S = 0.75  # older than that is not gone by, unless the database does not answer
_READ_TIMEOUT_S = 1.0
_REPORT_EVERY_S = 1.0
_QUIET_S = 3.0  # without a request, before reading and reporting end

Exchange = Callable[[Sequence[Demand]], Mapping[str, Standing]]  # reports, and reads; may block


@dataclass
class _Asked:
    asked_at: float = 0.0  # unix seconds
    waiting: int = 0
    waiting_since: float = 0.0
    active: int = 0
    is_reported: bool = True

    def __enter__(self) -> None:
        """A request is with the engine."""
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1
        self.asked_at = time.time()
        self.is_reported = False


class EngineBoard:
    """Belongs to one event loop. While nobody asks, it does nothing."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._standings: Mapping[str, Standing] = {}
        self._read_at = -_STALE_S  # monotonic
        self._reported_at = 0.0
        self._asked_at = 0.0
        self._asked: dict[str, _Asked] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def standing(self, base_model: str) -> Standing | None:
        """None: not known."""
        if time.monotonic() - self._read_at > _STALE_S:
            with suppress(TimeoutError):  # the database is slow: what was read last has to do
                await asyncio.wait_for(asyncio.shield(self._read()), _READ_TIMEOUT_S)
        return self._standings.get(base_model)

    def says_ready(self, base_model: str) -> bool:
        """Whether it is known without asking that the engine can be asked."""
        standing = self._standings.get(base_model)
        is_ready = standing is not None and standing.state is EngineState.READY
        return is_ready and time.monotonic() - self._read_at <= _STALE_S

    @contextmanager
    def waiting(self, base_model: str) -> Iterator[None]:
        """A request waits for the engine."""
        asked = self._note(base_model)
        if not asked.waiting:
            asked.waiting_since = asked.asked_at
            self._reported_at = 0.0  # the engine is wanted now
        asked.waiting += 1
        try:
            yield
        finally:
            asked.waiting -= 1
            asked.is_reported = False

    def answering(self, base_model: str) -> AbstractContextManager[None]:
        """A request is with the engine."""
        return self._note(base_model)

    async def close(self) -> None:
        tasks = [task for task in (self._keeping, self._reading) if task is not None]
        self._keeping = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _note(self, base_model: str) -> _Asked:
        asked = self._asked.get(base_model)
        if asked is None:
            asked = self._asked[base_model] = _Asked()
        asked.asked_at = time.time()
        asked.is_reported = False
        self._asked_at = time.monotonic()
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())
        return asked

    async def _keep(self) -> None:
        try:
            while not self._is_quiet():
                await self._read()
                await asyncio.sleep(_FRESH_S)
        finally:
            self._keeping = None

    def _is_quiet(self) -> bool:
        idle = all(asked.is_reported and not asked.waiting and not asked.active for asked in self._asked.values())
        return idle and time.monotonic() - self._asked_at > _QUIET_S

    def _read(self) -> asyncio.Task[None]:
        """One at a time; whoever comes meanwhile waits for the same."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._exchange_once())
        return self._reading

    async def _exchange_once(self) -> None:
        due = time.monotonic() - self._reported_at >= _REPORT_EVERY_S
        reported = self._to_report() if due else {}
        demands = [
            Demand(name, asked.asked_at, asked.waiting, asked.waiting_since, asked.active)
            for name, asked in reported.items()
        ]
        for asked in reported.values():
            asked.is_reported = True
        began = time.monotonic()
        try:
            self._standings = await asyncio.to_thread(self._exchange, demands)
            self._read_at = began
            self._reported_at = began if demands else self._reported_at
        except DBAPIError as error:
            _LOG.warning("the states of the engines could not be read: %s", type(error).__name__)
            for asked in reported.values():
                asked.is_reported = False

    def _to_report(self) -> dict[str, _Asked]:
        return {
            name: asked for name, asked in self._asked.items() if not asked.is_reported or asked.waiting or asked.active
        }


def database_exchange(database: Engine, reporter: str, clock: Callable[[], float] = time.time) -> Exchange:
    """`reporter` is unique to this process."""

    def exchange(demands: Sequence[Demand]) -> Mapping[str, Standing]:
        if demands:
            with placing(database, write=True) as session:
                report_demand(session, reporter, demands, clock())
        with placing(database) as session:
            return read_engines(session)

    return exchange
