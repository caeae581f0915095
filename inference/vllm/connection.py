"""One connection to an engine, and the answer that comes on it: given on as it comes, from callback to callback.

Nothing waits for a chunk: the bytes that one reading brought are passed on within it, and a task is woken at the end
of the answer alone (docs/decisions/0028).
"""

import asyncio
from typing import Any, NamedTuple

import httptools

from inference.engine import Take
from inference.lending.lease import Lease

_OK = 200


class AnswerBroken(ConnectionError):
    """The connection ended, or what came on it is no HTTP, before the answer's end."""


class Answer(NamedTuple):
    status: int
    body: bytes  # but for what was given to who takes it


class Connection(asyncio.Protocol):
    """Belongs to one event loop. Its request goes out, and the next one waits until the answer's end."""

    def __init__(self, opened: "set[Connection]", idle: "list[Connection]") -> None:
        self._opened, self._idle = opened, idle
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._asked: asyncio.Future[None] | None = None  # until the answer's end; None: nothing is asked
        self._parts: list[bytes] = []
        self._is_paused = False

    async def ask(self, request: bytes, take: Take | None, lease: Lease | None) -> Answer:
        """As `Http.ask` has it."""
        self._take = take
        self._status = 0  # not known yet
        self._has_begun = self._is_complete = self._is_kept = False
        self._heard_at = self._loop.time()
        self._asked = asked = self._loop.create_future()
        if lease is not None:
            lease.abort = self._take_away
        self._transport.write(request)
        try:
            await asked
        finally:
            self._asked = None
            body = b"".join(self._parts)
            self._parts.clear()
            if self._is_complete and self._is_kept and not self._is_paused:
                self._idle.append(self)
            else:
                self.abort()
        return Answer(self._status, body)

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._opened.discard(self)
        if self in self._idle:
            self._idle.remove(self)
        if self._asked is not None and not self._is_complete:
            kind = AnswerBroken if self._has_begun else ConnectionResetError
            self._fail(kind(f"the connection ended: {error}"))

    def data_received(self, data: bytes) -> None:
        if self._asked is None or self._asked.done():
            self._is_kept = False
            self.abort()  # nobody asked for this
            return
        self._heard_at = self._loop.time()
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._is_kept = False
            if not self._is_complete:
                self._fail(AnswerBroken(f"no answer of HTTP: {error}"))
                return
        if self._parts and self._take is not None and self._status == _OK:
            self._give(self._take)
        if self._is_complete and not self._asked.done():
            self._asked.set_result(None)

    def on_headers_complete(self) -> None:
        if self._status:
            raise ValueError("a second answer to one request")  # the parser makes an error of its own of it
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._is_kept = not self._is_complete and self._parser.should_keep_alive()
        self._is_complete = True

    def give_up_if_silent_since(self, time_s: float) -> None:
        """Give up an answer of which nothing has come since then, though there was somebody to take it."""
        if self._asked is not None and not self._is_paused and self._heard_at <= time_s:
            self._fail(TimeoutError("nothing came for too long"))
            self.abort()

    def _take_away(self) -> None:
        """End the answer for another's sake. It is not to be asked for again."""
        self._fail(AnswerBroken("the adapter was taken away"))
        self.abort()

    def _give(self, take: Take) -> None:
        some = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        try:
            until_taken = take(some)
        except Exception as error:  # whatever it is, it is raised where the answer is waited for
            self._fail(error)
            return
        if until_taken is not None and not self._is_complete:
            self._is_paused = True
            self._transport.pause_reading()
            until_taken.add_done_callback(self._go_on)

    def _go_on(self, _taken: "asyncio.Future[None]") -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def _fail(self, error: Exception) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)
