"""One relayed request on a client's connection, and the answer to it, written to the socket without a layer between.

uvicorn's protocol takes it for one of its own cycles: the last four attributes are what it looks at.
"""

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

from server.errors import PayloadTooLarge
from server.ids import new_request_id
from server.relay.operation import Operation
from server.relay.request_head import Header, RequestHead
from server.request_ids import OPENAI_VERSION

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_OF_ALL = (
    b"%b%b%bx-request-id: %b\r\nopenai-processing-ms: %d\r\nopenai-version: "
    + OPENAI_VERSION
    + b"\r\nopenai-organization: %b\r\n%b\r\n"
)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection(Protocol):
    """What the exchange is on."""

    wire: asyncio.Transport
    until_writable: "asyncio.Future[None] | None"  # of a client that reads slowly

    @property
    def default_fields(self) -> bytes: ...
    def on_response_complete(self) -> None: ...


class Exchange:
    """Belongs to the connection's event loop. Fields of a head are written as they go out, each with its line's end."""

    __slots__ = (
        "_arrival", "_began_at", "_connection", "_most", "_parts", "_size", "disconnected", "head", "is_started",
        "is_whole", "keep_alive", "operation", "organization", "request_id", "response_complete",
    )  # fmt: skip
    message_event = asyncio.Event()  # nobody waits for it

    def __init__(
        self, connection: ClientConnection, operation: Operation[Any], head: RequestHead, most_body_bytes: int
    ) -> None:
        self.operation = operation
        self._connection = connection
        self._most = most_body_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._arrival: asyncio.Future[None] | None = None  # of more of the body
        self._began_at = time.monotonic()
        self.head = head
        self.is_whole = False  # nothing of the body is to come
        self.is_started = False  # something of the answer is sent
        self.organization = b""
        self.request_id = new_request_id()
        self.keep_alive = head.keep_alive
        self.response_complete = self.disconnected = False

    def take(self, body: bytes) -> None:
        """Take a part of the request's body, as the connection reads it."""
        self._size += len(body)
        if self._size > self._most or self.response_complete:
            self._parts.clear()
        else:
            self._parts.append(body)
        if self._arrival is not None:
            self._arrive()

    def end_body(self) -> None:
        self.is_whole = True
        if self._arrival is not None:
            self._arrive()

    async def until_whole(self) -> None:
        """Wait for the request's body, or for more than is taken."""
        if self.head.expects_continue and not self._size:
            self._connection.wire.write(_CONTINUE)
        while not self.is_whole and self._size <= self._most:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival

    def body(self) -> bytes:
        """Raises: PayloadTooLarge."""
        if self._size > self._most:
            raise PayloadTooLarge(f"The request is too large: at most {self._most} bytes are taken.")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Give a whole answer."""
        head = self._head(status, b"%bcontent-length: %d\r\n" % (fields, len(body)))
        self._connection.wire.write(head if self.head.method == b"HEAD" else head + body)
        self._end()

    def begin_stream(self, fields: bytes) -> None:
        self._connection.wire.write(self._head(200, fields + b"transfer-encoding: chunked\r\n"))

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

    def _arrive(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def _head(self, status: int, fields: bytes) -> bytes:
        self.is_started = True
        return _OF_ALL % (
            _STATUS_LINES[status],
            self._connection.default_fields,
            fields,
            self.request_id.encode(),
            round((time.monotonic() - self._began_at) * 1000),
            self.organization,
            b"" if self.keep_alive else b"connection: close\r\n",
        )

    def _end(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._connection.wire.close()
        self._connection.on_response_complete()


def write_fields(headers: Iterable[Header]) -> bytes:
    """Write fields of a head as they go out."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
