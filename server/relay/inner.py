"""An answer to a request from within the service: collected, not sent."""

import asyncio
from typing import NamedTuple

from server.errors import ServerFault
from server.ids import new_request_id


class InnerAnswer(NamedTuple):
    status: int
    request_id: str
    body: bytes  # of a stream, all its events


class InnerExchange:
    """What the relay takes for a client's exchange."""

    def __init__(self) -> None:
        self.request_id = new_request_id()
        self._status: int | None = None
        self._parts: list[bytes] = []
        self._has_ended = asyncio.Event()

    @property
    def is_started(self) -> bool:
        return self._status is not None

    def answer(self, status: int, _fields: bytes, body: bytes) -> None:
        self._status, self._parts = status, [body]
        self._has_ended.set()

    def begin_stream(self, _fields: bytes) -> None:
        self._status = 200

    def stream(self, some: bytes) -> "asyncio.Future[None] | None":
        self._parts.append(some)
        return None

    def end_stream(self) -> None:
        self._has_ended.set()

    def cut(self) -> None:
        """Take back what must not be taken for a whole answer."""
        self._status = None
        self._has_ended.set()

    async def given(self) -> InnerAnswer:
        """Wait for the end, which comes once it is written down what the answer came to: perhaps a turn later.

        Raises: ServerFault: the answer broke off.
        """
        await self._has_ended.wait()
        if self._status is None:
            raise ServerFault("The answer broke off before its end. Send the request again.")
        return InnerAnswer(self._status, self.request_id, b"".join(self._parts))
