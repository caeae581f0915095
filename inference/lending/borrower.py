"""Adapters that another process of ours keeps resident: held over one connection, which is made again by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from inference.engine import AdapterRef, AdapterRejected, EngineError, EngineUnavailable
from inference.lending.holds import Hold, HoldBooks, Then
from inference.lending.lease import BorrowedLease
from inference.lending.messages import (
    Abort,
    Answered,
    Ask,
    Forget,
    Forgotten,
    FromLender,
    Held,
    Lost,
    Message,
    Recall,
    Refused,
    Release,
    decode_from_lender,
    encode,
)

_LINGER_S = 1.0
_CONNECT_EVERY_S = 0.1


@dataclass(eq=False)
class _Live:
    """A hold in action."""

    granted: "asyncio.Future[None]"
    leases: set[BorrowedLease] = field(default_factory=set)
    linger: asyncio.TimerHandle | None = None
    is_answered: bool = False
    is_over: bool = False  # its leases are to end


class Borrower:
    """The holds of this process, on adapters of any engine. Belongs to one event loop, in which `run` must run."""

    def __init__(self, socket: Path, *, linger_s: float = _LINGER_S) -> None:
        self._socket = socket
        self._linger_s = linger_s
        self._writer: asyncio.StreamWriter | None = None
        self._books = HoldBooks()
        self._live: dict[Hold, _Live] = {}
        self._forgetting: dict[int, asyncio.Future[None]] = {}

    @property
    def is_connected(self) -> bool:
        return self._writer is not None

    async def run(self) -> None:
        """Keep the connection up, until cancelled."""
        while True:
            with suppress(OSError):
                await self._connect()
            await asyncio.sleep(_CONNECT_EVERY_S)

    @asynccontextmanager
    async def use(self, adapter: AdapterRef) -> AsyncIterator[BorrowedLease]:
        """Have an adapter resident for the length of the context.

        Raises:
            AdapterRejected, EngineUnavailable: as the port says.
        """
        self._require_connection()
        hold = self._books.begin(adapter)
        live = self._live.get(hold) or self._ask(hold)
        if live.linger is not None:
            live.linger.cancel()
        lease = BorrowedLease(lambda: self._note_answer(hold, live))
        try:
            if not live.granted.done():
                await asyncio.shield(live.granted)
            live.granted.result()
            if live.is_over:  # it came with the news that it is granted
                raise _gone()
            live.leases.add(lease)
            yield lease
        finally:
            live.leases.discard(lease)
            self._act(hold, self._books.end(hold))

    def lost(self, base_model: str, name: str) -> None:
        """Note that an engine does not know an adapter after all: the next use asks for it again."""
        with suppress(EngineUnavailable):
            self._send(Lost(base_model, name))
        for hold in self._books.of_base(base_model):
            if hold.adapter.name == name and hold.is_granted:
                self._act(hold, self._books.close(hold))

    def leave(self, base_model: str) -> None:
        """Note that the engine has been replaced: what was held in it counts no more."""
        for hold in self._books.of_base(base_model):
            self._act(hold, self._books.close(hold))

    async def forget(self, base_model: str, name: str) -> None:
        """Have an adapter unloaded for all.

        Raises:
            EngineUnavailable: it may still be read.
        """
        forget_id = self._books.new_id()
        self._send(Forget(forget_id, base_model, name))
        forgotten = self._forgetting[forget_id] = asyncio.get_running_loop().create_future()
        try:
            await forgotten
        finally:
            del self._forgetting[forget_id]

    async def _connect(self) -> None:
        """Be connected until the lender ends it."""
        reader, self._writer = await asyncio.open_unix_connection(self._socket)
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                self._take(decode_from_lender(line))
        finally:
            self._writer.close()
            self._writer = None
            self._drop_all()

    def _take(self, message: FromLender) -> None:
        if isinstance(message, Forgotten) or message.id in self._forgetting:
            self._take_forgotten(message)
            return
        hold = self._books.find(message.id)
        if hold is None:
            return  # it was released while this was under way
        match message:
            case Held():
                hold.is_granted = True
                self._live[hold].granted.set_result(None)
            case Refused():
                self._drop(hold, _error(message))
            case Recall():
                self._act(hold, self._books.close(hold))
            case Abort():
                live = self._live[hold]
                self._act(hold, self._books.close(hold))
                _end(live)

    def _take_forgotten(self, message: FromLender) -> None:
        forgotten = self._forgetting.get(message.id)
        if forgotten is None or forgotten.done():
            return  # nobody waits any more
        if isinstance(message, Refused):
            forgotten.set_exception(_error(message))
        else:
            forgotten.set_result(None)

    def _ask(self, hold: Hold) -> _Live:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        granted.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody may be left to see
        live = self._live[hold] = _Live(granted)
        self._send(Ask(hold.id, hold.adapter))
        return live

    def _note_answer(self, hold: Hold, live: _Live) -> None:
        if not live.is_answered:
            live.is_answered = True
            with suppress(EngineUnavailable):
                self._send(Answered(hold.id))

    def _act(self, hold: Hold, then: Then) -> None:
        match then:
            case Then.LINGER:
                loop = asyncio.get_running_loop()
                self._live[hold].linger = loop.call_later(self._linger_s, self._linger_ended, hold)
            case Then.RELEASE:
                del self._live[hold]
                self._send(Release(hold.id))
            case Then.NOTHING:
                return

    def _linger_ended(self, hold: Hold) -> None:
        self._act(hold, self._books.close(hold))

    def _drop_all(self) -> None:
        for hold in self._books.all():
            self._drop(hold, _gone())
        for forgotten in self._forgetting.values():
            if not forgotten.done():
                forgotten.set_exception(_gone())

    def _drop(self, hold: Hold, error: EngineError) -> None:
        """Note that the lender holds it no more."""
        self._books.drop(hold)
        live = self._live.pop(hold)
        if not live.granted.done():
            live.granted.set_exception(error)
        _end(live)

    def _require_connection(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise EngineUnavailable("the process that keeps the adapters is not there")
        return self._writer

    def _send(self, message: Message) -> None:
        """Raises: EngineUnavailable."""
        self._require_connection().write(encode(message))


def _end(live: _Live) -> None:
    live.is_over = True
    for lease in tuple(live.leases):
        lease.end()


def _gone() -> EngineUnavailable:
    return EngineUnavailable("the process that keeps the adapters has ended, or has taken the adapter away")


def _error(refused: Refused) -> EngineError:
    return AdapterRejected(refused.reason) if refused.kind == "rejected" else EngineUnavailable(refused.reason)
