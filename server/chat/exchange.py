"""One chat request on a client's connection, and the answer to it, written to the socket without a layer between.

uvicorn's protocol takes it for one of its own cycles: the attributes without a word are what it looks at.
"""

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

from server.errors import PayloadTooLarge
from server.ids import new_request_id
from server.request_ids import answer_headers

Header = tuple[bytes, bytes]
_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection(Protocol):
    """What the exchange is on."""

    wire: asyncio.Transport
    until_writable: "asyncio.Future[None] | None"  # of a client that reads slowly

    @property
    def default_headers(self) -> Iterable[Header]: ...
    def on_response_complete(self) -> None: ...


class Exchange:
    """Belongs to the connection's event loop."""

    __slots__ = (
        "_began_at", "_connection", "_expects_continue", "_most", "_parts", "_size", "disconnected", "headers",
        "keep_alive", "message_event", "method", "more_body", "organization", "request_id", "response_complete",
        "response_started",
    )  # fmt: skip

    def __init__(
        self,
        connection: ClientConnection,
        *,
        method: bytes,
        headers: list[Header],
        most_body_bytes: int,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self._expects_continue = expects_continue
        self._most = most_body_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._began_at = time.monotonic()
        self.method = method
        self.headers = headers  # names in lower case
        self.organization = ""
        self.request_id = new_request_id()
        self.keep_alive = keep_alive
        self.more_body = True
        self.message_event = asyncio.Event()
        self.response_started = self.response_complete = self.disconnected = False

    def take(self, body: bytes) -> None:
        """Take a part of the request's body, as the connection reads it."""
        self._size += len(body)
        if self._size > self._most or self.response_complete:
            self._parts.clear()
        else:
            self._parts.append(body)

    def end_body(self) -> None:
        self.more_body = False
        self.message_event.set()

    async def body(self) -> bytes:
        """Wait for the request's body.

        Raises: PayloadTooLarge.
        """
        if self.more_body and self._expects_continue:
            self._connection.wire.write(_CONTINUE)
        while self.more_body and self._size <= self._most:
            self.message_event.clear()
            await self.message_event.wait()
        if self._size > self._most:
            raise PayloadTooLarge(f"The request is too large: at most {self._most} bytes are taken.")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def answer(self, status: int, fields: Iterable[Header], body: bytes) -> None:
        """Give a whole answer."""
        head = self._head(status, fields, b"content-length: %d\r\n" % len(body))
        self._connection.wire.write(head if self.method == b"HEAD" else head + body)
        self._end()

    def begin_stream(self, fields: Iterable[Header]) -> None:
        self._connection.wire.write(self._head(200, fields, b"transfer-encoding: chunked\r\n"))

    def stream(self, some: bytes) -> "asyncio.Future[None] | None":
        """Give a part of a stream. Gives what to wait for before more of it."""
        connection = self._connection
        connection.wire.write(b"%x\r\n%b\r\n" % (len(some), some))
        return connection.until_writable

    def end_stream(self) -> None:
        self._connection.wire.write(b"0\r\n\r\n")
        self._end()

    def cut(self) -> None:
        """End the connection: what was sent must not be taken for a whole answer."""
        self._connection.wire.close()

    def _head(self, status: int, fields: Iterable[Header], framing: bytes) -> bytes:
        self.response_started = True
        lines = [_STATUS_LINES[status]]
        elapsed_ms = round((time.monotonic() - self._began_at) * 1000)
        of_all = answer_headers(self.request_id, elapsed_ms, self.organization)
        for name, value in (*self._connection.default_headers, *fields, *of_all):
            lines += (name, b": ", value, b"\r\n")
        lines += (framing, b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def _end(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._connection.wire.close()
        self._connection.on_response_complete()
