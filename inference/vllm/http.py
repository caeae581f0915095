"""HTTP/1.1 to one process over its unix socket: kept connections, one answer on each at a time, and no more than that.

A general client costs more for each request than all else the relay does for it (docs/decisions/0021).
"""

import asyncio
from pathlib import Path
from typing import Any

import httptools

_CONNECT_TIMEOUT_S = 5.0
_HEAD = b"%b %b HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_LOOKS = 20  # for silence, in the time that it may last
_MOST_BUFFERED = 256 * 1024  # bytes of an answer that nobody has read yet


class AnswerBroken(ConnectionError):
    """The connection ended, or what came on it is no HTTP, before the answer's end."""


class Http:
    """The connections to one socket. Belongs to one event loop."""

    def __init__(self, socket: Path, silence_timeout_s: float) -> None:
        self._socket = str(socket)
        self._silence_timeout_s = silence_timeout_s
        self._open: set[Answer] = set()
        self._idle: list[Answer] = []
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        return bool(self._open)

    async def ask(self, method: bytes, path: bytes, body: bytes = b"") -> "Answer":
        """Send a request; its answer's status is there. Close the answer in the end, whatever happened.

        Raises:
            OSError: nobody listens, or the connection broke.
            TimeoutError: nothing came for too long.
        """
        request = _HEAD % (method, path, len(body)) + body
        while self._idle:
            try:
                return await self._idle.pop().begin(request)
            except ConnectionError as error:
                if isinstance(error, AnswerBroken):
                    raise
                # The other side closed it while it was idle, and never read the request: another one.
        return await (await self._connect()).begin(request)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for answer in list(self._open):
            answer.abort()

    async def _connect(self) -> "Answer":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, answer = await loop.create_unix_connection(lambda: Answer(self._open, self._idle), self._socket)
        if self._sweep is None:
            self._look_for_silence()
        return answer

    def _look_for_silence(self) -> None:
        """Look after them all together: a timer for each request would cost more than what it guards."""
        loop = asyncio.get_running_loop()
        for answer in list(self._open):
            answer.give_up_if_silent_since(loop.time() - self._silence_timeout_s)
        self._sweep = None
        if self._open:
            self._sweep = loop.call_later(self._silence_timeout_s / _LOOKS, self._look_for_silence)


class Answer(asyncio.Protocol):
    """A connection, and the answer that comes on it."""

    status: int

    def __init__(self, opened: "set[Answer]", idle: "list[Answer]") -> None:
        self._opened, self._idle = opened, idle
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self._is_complete = True  # nothing is asked
        self._is_paused = False

    async def begin(self, request: bytes) -> "Answer":
        """Send a request, and wait for the head of its answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._buffered = 0
        self._has_begun = self._has_head = self._is_complete = self._is_kept = False
        self._heard_at = self._loop.time()
        self._transport.write(request)
        try:
            while not self._has_head:
                await self._wait()
        except BaseException:
            self.close()
            raise
        return self

    async def read_some(self) -> bytes:
        """Wait for the next bytes of the body, all that have come; empty at its end.

        Raises:
            AnswerBroken: it will have no end.
            TimeoutError: nothing came for too long.
        """
        while not self._parts:
            if self._is_complete:
                return b""
            await self._wait()
        some = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._is_paused:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        return some

    async def read(self) -> bytes:
        """Wait for the whole body."""
        parts = []
        while some := await self.read_some():
            parts.append(some)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the answer. One that has not come to its end is cancelled with its connection."""
        if self._is_complete and self._is_kept and not self._is_paused and self._error is None:
            self._idle.append(self)
        else:
            self.abort()
        self._is_kept = False

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._opened.discard(self)
        if self in self._idle:
            self._idle.remove(self)
        if not self._is_complete:
            kind = AnswerBroken if self._has_begun else ConnectionResetError
            self._fail(kind(f"the connection ended: {error}"))

    def data_received(self, data: bytes) -> None:
        if self._is_complete:
            self.abort()  # nobody asked for this
            return
        self._heard_at = self._loop.time()
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(AnswerBroken(f"no answer of HTTP: {error}"))
            self.abort()
        if self._buffered > _MOST_BUFFERED and not self._is_paused and not self._is_complete:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def on_headers_complete(self) -> None:
        if self._has_head:
            raise ValueError("a second answer to one request")  # the parser makes an error of its own of it
        self.status = self._parser.get_status_code()
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        self._is_kept = not self._is_complete and self._parser.should_keep_alive()
        self._is_complete = True

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._parts:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        self._wake()

    def give_up_if_silent_since(self, time_s: float) -> None:
        """Give up an answer that somebody waits for, and of which nothing has come since then."""
        if self._waiter is not None and self._heard_at <= time_s:
            self._fail(TimeoutError("nothing came for too long"))
            self.abort()
