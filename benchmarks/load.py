"""Clients that load a relay: connections that are kept, on each one request after the other, and what they saw."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop


@dataclass(frozen=True)
class Target:
    port: int
    model: str
    key: str

    def request(self, *, stream: bool, **fields: Any) -> bytes:
        body = orjson.dumps({"model": self.model, "messages": _MESSAGES, "max_tokens": 101, "stream": stream, **fields})
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (self.key.encode(), len(body), body)
        )


@dataclass
class Seen:
    asked: int
    taken_s: float = 0.0
    first_bytes_s: list[float] = field(default_factory=list)  # of each answer's body, after its request
    answered: int = 0
    body_bytes: int = 0
    events: int = 0  # of streams


class RefusedByRelay(Exception):
    """An answer that is no success: the figures would mean nothing."""


def load(where: int | Path, requests: list[bytes], connections: int, *, per_second: float = math.inf) -> Seen:
    """Have the requests answered, in order, as many at once as there are connections, at a port or a unix socket.

    `per_second`: how many are begun; fewer, if the answers do not come so fast.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(where, requests, connections, per_second))


async def _load(where: int | Path, requests: list[bytes], connections: int, per_second: float) -> Seen:
    loop, seen = asyncio.get_running_loop(), Seen(len(requests))
    pace = _Pace(per_second)

    async def connect() -> asyncio.BaseTransport:
        def client() -> _Client:
            return _Client(waiting, seen, ended, pace)

        if isinstance(where, Path):
            return (await loop.create_unix_connection(client, str(where)))[0]
        return (await loop.create_connection(client, "127.0.0.1", where))[0]

    ended: asyncio.Future[None] = loop.create_future()
    waiting = requests[::-1]
    started = time.perf_counter()
    clients = [await connect() for _ in range(min(connections, len(requests)))]
    await asyncio.wait_for(ended, 600)
    seen.taken_s = time.perf_counter() - started
    for client in clients:
        client.close()
    return seen


class _Pace:
    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second
        self._due_at = 0.0

    def wait_s(self) -> float:
        """How long the next request has to wait."""
        now = time.perf_counter()
        self._due_at = max(self._due_at + self._interval_s, now - 0.1)
        return max(0.0, self._due_at - now)


class _Client(asyncio.Protocol):
    def __init__(self, waiting: list[bytes], seen: Seen, ended: "asyncio.Future[None]", pace: _Pace) -> None:
        self._waiting, self._seen, self._ended, self._pace = waiting, seen, ended, pace
        self._clock: Callable[[], float] = time.perf_counter
        self._is_first = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(RefusedByRelay("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() != 200 and not self._ended.done():
            self._ended.set_exception(RefusedByRelay(f"status {self._parser.get_status_code()}"))

    def on_body(self, body: bytes) -> None:
        if self._is_first:
            self._is_first = False
            self._seen.first_bytes_s.append(self._clock() - self._sent)
        self._seen.body_bytes += len(body)
        self._seen.events += body.count(b"\n\n")

    def on_message_complete(self) -> None:
        self._seen.answered += 1
        if self._seen.answered == self._seen.asked and not self._ended.done():
            self._ended.set_result(None)
        else:
            asyncio.get_running_loop().call_later(self._pace.wait_s(), self._next)

    def _next(self) -> None:
        if self._waiting:
            self._is_first, self._sent = True, self._clock()
            self._parser = httptools.HttpResponseParser(self)
            self._transport.write(self._waiting.pop())


_MESSAGES = [
    {"role": "system", "content": "You answer questions about the products of a company, shortly and to the point."},
    {"role": "user", "content": "What is the difference between the two models, and which of them do I need? " * 6},
]
