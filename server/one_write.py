"""uvicorn's protocol, but what is written of an answer in one turn of the event loop goes out at once.

uvicorn writes an answer's head and its body apart, and each write wakes the client: for a short answer the second
waking costs as much as all that is done to answer (docs/decisions/0021).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(OneWriteTransport(transport, self.loop))  # type: ignore[arg-type]  # it acts as one


class OneWriteTransport:
    """A transport that writes at the end of the turn, and before anything else is asked of it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def __getattr__(self, name: str) -> Any:
        self._flush()
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._transport.write(b"".join(waiting))
