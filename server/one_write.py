"""uvicorn's protocol, but the head of an answer goes out with what follows it.

uvicorn writes an answer's head and its body apart, and each write wakes the client: for a short answer the second
waking costs as much as all that is done to answer (docs/decisions/0021).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD = b"HTTP/1.1 "


class OneWriteProtocol(HttpToolsProtocol):
    wire: asyncio.Transport  # as it is

    def connection_made(self, transport: Any) -> None:
        self.wire = transport
        super().connection_made(OneWriteTransport(transport, self.loop))  # type: ignore[arg-type]  # it acts as one


class OneWriteTransport:
    """A transport that keeps a head back until what follows it is written, or the turn is over."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._flushing: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._flushing is not None:
            data = self._take() + data
        elif data.startswith(_HEAD):
            self._head = data
            self._flushing = self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        self._flush()
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._transport.write(self._take())

    def _take(self) -> bytes:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        head, self._head = self._head, b""
        return head
