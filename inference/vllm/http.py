"""HTTP/1.1 to one process over its unix socket: kept connections, one answer on each at a time, and no more than that.

A general client costs more for each request than all else the relay does for it (docs/decisions/0021).
"""

import asyncio
from pathlib import Path

from inference.engine import Take
from inference.lending.lease import Lease
from inference.vllm.connection import Answer, AnswerBroken, Connection

_CONNECT_TIMEOUT_S = 5.0
_HEAD = b"%b %b HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_LOOKS = 20  # for silence, in the time that it may last


class Http:
    """The connections to one socket. Belongs to one event loop."""

    def __init__(self, socket: Path, silence_timeout_s: float) -> None:
        self._socket = str(socket)
        self._silence_timeout_s = silence_timeout_s
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        return bool(self._open)

    async def ask(
        self, method: bytes, path: bytes, body: bytes = b"", *, take: Take | None = None, lease: Lease | None = None
    ) -> Answer:
        """Send a request, and wait for its answer's end. Who is cancelled meanwhile cancels it with its connection.

        `take` is given the body of an answer of status 200 as it comes; what it raises ends the answer and is raised.
        `lease` is told how the answer can be ended by others.

        Raises:
            OSError: nobody listens, or the connection broke.
            TimeoutError: nothing came for too long.
        """
        request = _HEAD % (method, path, len(body)) + body
        while self._idle:
            try:
                return await self._idle.pop().ask(request, take, lease)
            except ConnectionError as error:
                if isinstance(error, AnswerBroken):
                    raise
                # The other side closed it while it was idle, and never read the request: another one.
        return await (await self._connect()).ask(request, take, lease)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, connection = await loop.create_unix_connection(lambda: Connection(self._open, self._idle), self._socket)
        if self._sweep is None:
            self._look_for_silence()
        return connection

    def _look_for_silence(self) -> None:
        """Look after them all together: a timer for each request would cost more than what it guards."""
        loop = asyncio.get_running_loop()
        for connection in list(self._open):
            connection.give_up_if_silent_since(loop.time() - self._silence_timeout_s)
        self._sweep = None
        if self._open:
            self._sweep = loop.call_later(self._silence_timeout_s / _LOOKS, self._look_for_silence)
