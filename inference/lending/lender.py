"""Lends resident adapters to other processes of ours: each connection is a borrower, and its end gives all back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from inference.engine import AdapterRejected, EngineError, EngineUnavailable
from inference.lending.lease import Books, Lease
from inference.lending.messages import (
    Abort,
    Answered,
    Ask,
    Forget,
    Forgotten,
    FromBorrower,
    Held,
    Lost,
    Message,
    Recall,
    Refused,
    Release,
    decode_from_borrower,
    encode,
)


class Lender:
    """Belongs to one event loop."""

    def __init__(self, books: Mapping[str, Books]) -> None:
        self._books = books  # by the base model's own name
        self._borrowers: dict[asyncio.Task[None], _Borrower] = {}
        self._is_closing = False

    async def start(self, socket: Path) -> None:
        socket.unlink(missing_ok=True)  # of a process that was killed
        self._server = await asyncio.start_unix_server(self._serve, socket)

    async def close(self, grace_s: float) -> None:
        """Lend no more, and end; what is lent is waited for until then."""
        self._is_closing = True
        self._server.close()
        borrowers = list(self._borrowers)
        for borrower in self._borrowers.values():
            borrower.close()
        if borrowers:
            _, late = await asyncio.wait(borrowers, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_closing:
            writer.close()
            return
        borrower = self._borrowers[task] = _Borrower(self._books, writer)
        try:
            await borrower.run(reader)
        finally:
            del self._borrowers[task]
            writer.close()


class _Borrower:
    """One connection."""

    def __init__(self, books: Mapping[str, Books], writer: asyncio.StreamWriter) -> None:
        self._books = books
        self._writer = writer
        self._lending: dict[int, asyncio.Task[None]] = {}
        self._lent: dict[int, Lease] = {}
        self._is_closing = False

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve it until it goes."""
        async with asyncio.TaskGroup() as self._tasks:
            with suppress(ConnectionError):  # it was killed
                while (line := await reader.readline()).endswith(b"\n"):
                    self._take(decode_from_borrower(line))
            for task in self._lending.values():
                task.cancel()

    def close(self) -> None:
        """Lend no more; go when the last is given back."""
        self._is_closing = True
        for lent in self._lent:
            self._say(Recall(lent))
        self._go_if_done()

    def _take(self, message: FromBorrower) -> None:
        match message:
            case Ask() | Forget() if self._is_closing:
                self._say(Refused(message.id, "unavailable", "the service is stopping"))
            case Ask():
                task = self._tasks.create_task(self._answer(message.id, partial(self._lend, message)))
                self._lending[message.id] = task
                task.add_done_callback(lambda _: self._given_back(message.id))
            case Forget():
                self._tasks.create_task(self._answer(message.id, partial(self._forget, message)))
            case Answered() if message.id in self._lent:
                self._lent[message.id].note_answer()
            case Release() if message.id in self._lending:
                self._lending[message.id].cancel()
            case Lost() if message.base_model in self._books:
                self._books[message.base_model].lost(message.name)

    async def _answer(self, message_id: int, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except AdapterRejected as error:
            self._say(Refused(message_id, "rejected", str(error)))
        except EngineError as error:
            self._say(Refused(message_id, "unavailable", str(error)))

    def _given_back(self, hold_id: int) -> None:
        del self._lending[hold_id]
        self._go_if_done()

    async def _lend(self, asked: Ask) -> None:
        async with self._of(asked.adapter.base_model).lend(asked.adapter) as lease:
            lease.abort = partial(self._say, Abort(asked.id))
            lease.recall = partial(self._say, Recall(asked.id))
            self._lent[asked.id] = lease
            self._say(Held(asked.id))
            if self._is_closing:
                self._say(Recall(asked.id))
            try:
                await asyncio.Event().wait()  # until it is given back, which cancels this
            finally:
                del self._lent[asked.id]

    async def _forget(self, asked: Forget) -> None:
        await self._of(asked.base_model).forget_adapter(asked.name)
        self._say(Forgotten(asked.id))

    def _of(self, base_model: str) -> Books:
        try:
            return self._books[base_model]
        except KeyError:
            raise EngineUnavailable(f"there is no engine for the base model {base_model!r}") from None

    def _go_if_done(self) -> None:
        if self._is_closing and not self._lending:
            self._writer.close()

    def _say(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))
