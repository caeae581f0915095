"""A connection on which nothing comes for too long is closed, with one timer and not one for each request."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.kept_connections import KeptConnection

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
KEPT_S = 5


@dataclass
class Loop:
    """Keeps time by hand."""

    now: float = 100.0
    timers: list[tuple[float, Any]] = field(default_factory=list)
    armed: int = 0

    def time(self) -> float:
        return self.now

    def call_later(self, after_s: float, work: Any) -> asyncio.TimerHandle:
        self.armed += 1
        self.timers.append((self.now + after_s, work))
        return asyncio.TimerHandle(0, work, (), self)  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for due in [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers.remove(due)
            due[1]()

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None: ...
    def get_debug(self) -> bool:
        return False

    def call_soon(self, work: Any) -> Any:
        return asyncio.get_running_loop().call_soon(work)


class Unanswered(KeptConnection):
    """The test answers."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None: ...


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
async def connection(loop: Loop) -> KeptConnection:
    config = uvicorn.Config(_nothing, log_config=None, timeout_keep_alive=KEPT_S)
    connection = Unanswered(config, ServerState(), {}, loop)  # type: ignore[arg-type]
    connection.connection_made(Transport())
    return connection


def exchange(connection: KeptConnection) -> None:
    connection.data_received(REQUEST)
    connection.cycle.response_complete = True
    connection.on_response_complete()


def is_closed(connection: KeptConnection) -> bool:
    return connection.wire.is_closing()


@pytest.mark.anyio
async def test_it_is_closed_so_long_after_its_last_answer(connection: KeptConnection, loop: Loop) -> None:
    for _ in range(10):
        exchange(connection)
        loop.pass_time(KEPT_S - 1)
        assert not is_closed(connection)
    loop.pass_time(0.9)
    assert not is_closed(connection)
    loop.pass_time(0.1)
    assert is_closed(connection)


@pytest.mark.anyio
async def test_an_answer_may_take_as_long_as_it_will(connection: KeptConnection, loop: Loop) -> None:
    exchange(connection)
    connection.data_received(REQUEST)
    loop.pass_time(100 * KEPT_S)
    assert not is_closed(connection)
    connection.cycle.response_complete = True
    connection.on_response_complete()
    loop.pass_time(KEPT_S)
    assert is_closed(connection)


@pytest.mark.anyio
async def test_many_requests_arm_few_timers(connection: KeptConnection, loop: Loop) -> None:
    for _ in range(1000):
        exchange(connection)
        loop.pass_time(0.01)
    assert loop.armed <= 4
