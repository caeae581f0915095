"""What a request meets when its engine is away, dead, or on its way."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy.exc import OperationalError

from inference.engine import CHAT_PATH, EngineRequest, EngineUnavailable
from inference.fake_engine import FakeEngine
from server.placement.board import EngineBoard
from server.placement.facts import EngineState, Why
from server.placement.pooled_engine import PooledEngine
from server.placement.repository import Demand
from server.placement.standing import Refusal, Standing, over_limit, refusal_of
from server.relay.engine_errors import not_ready
from tests.chunks import answer_of

BODY = b'{"model": "base", "messages": [{"role": "user", "content": "Hello"}]}'
NOW = 1000.0


@dataclass
class Book:
    """What stands in the database."""

    standing: Standing | None
    reports: list[Demand] = field(default_factory=list)
    is_locked: bool = False

    def exchange(self, demands: Sequence[Demand]) -> Mapping[str, Standing]:
        if self.is_locked:
            raise OperationalError("SELECT", None, Exception("database is locked"))
        self.reports += demands
        return {} if self.standing is None else {"base": self.standing}


def standing(state: EngineState, *, why: Why | None = None, deaths: int = 0, start_s: float | None = None) -> Standing:
    return Standing(state, NOW - 10, why, deaths=deaths, start_s=start_s)


async def ask(engine: PooledEngine) -> bytes:
    return await answer_of(engine, EngineRequest(CHAT_PATH, BODY, stream=False), None)


def pooled(book: Book, *, wait_s: float = 5.0, inner: FakeEngine | None = None) -> PooledEngine:
    return PooledEngine("base", inner or FakeEngine("base"), EngineBoard(book.exchange), wait_s=wait_s)


READY = standing(EngineState.READY, start_s=7.2)
AWAY = standing(EngineState.STOPPED, why=Why.IDLE)

REFUSALS: dict[str, tuple[Standing, Refusal | None]] = {
    "ready": (READY, None),
    "away by plan": (AWAY, None),
    "starting by plan": (standing(EngineState.STARTING), None),
    "it makes way": (standing(EngineState.STOPPING, why=Why.GAVE_WAY), None),
    "it died": (
        standing(EngineState.STARTING, deaths=1, start_s=12.5),
        Refusal("the engine ended and is being started again", 3),
    ),
    "it died and is overdue": (
        standing(EngineState.STARTING, deaths=1, start_s=9.0),
        Refusal("the engine ended and is being started again", 5),
    ),
    "it fails": (standing(EngineState.FAILED, deaths=3), Refusal("the engine cannot be started", 50)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_only_what_is_away_by_plan_is_waited_for(name: str) -> None:
    seen, expected = REFUSALS[name]
    assert refusal_of(seen, NOW) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (standing(EngineState.STARTING, start_s=30.4), Refusal("the engine is starting", 21)),
        (standing(EngineState.STOPPED, why=Why.TRAINING), Refusal("a training job has the device", 60)),
        (standing(EngineState.STOPPED, why=Why.ON_DEMAND, start_s=8.0), Refusal("the engine waits for room", 8)),
        (standing(EngineState.STOPPED, why=Why.ON_DEMAND), Refusal("the engine waits for room", 60)),
    ],
)
def test_who_has_waited_too_long_is_told_why_and_when_to_come_back(seen: Standing, expected: Refusal) -> None:
    assert over_limit(seen, NOW) == expected


def test_a_request_waits_for_an_engine_that_is_away_and_is_seen_to_wait() -> None:
    async def scenario() -> None:
        book = Book(AWAY)
        engine = pooled(book)
        asking = asyncio.ensure_future(ask(engine))
        await until(lambda: any(report.waiting == 1 for report in book.reports))
        assert not asking.done()
        book.standing = READY
        assert b"read 1 messages" in await asking
        await until(lambda: book.reports[-1].waiting == book.reports[-1].active == 0)
        await engine.close()

    asyncio.run(scenario())


def test_one_that_waits_too_long_is_sent_away() -> None:
    async def scenario() -> None:
        engine = pooled(Book(standing(EngineState.STOPPED, why=Why.TRAINING)), wait_s=0.3)
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="a training job has the device") as refused:
            await ask(engine)
        assert refused.value.retry_after_s == 60
        assert time.monotonic() - began >= 0.3
        await engine.close()

    asyncio.run(scenario())


def test_nobody_waits_for_an_engine_that_died() -> None:
    async def scenario() -> None:
        engine = pooled(Book(standing(EngineState.STARTING, deaths=1)))
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="being started again"):
            await ask(engine)
        assert time.monotonic() - began < 1.0
        await engine.close()

    asyncio.run(scenario())


def test_a_client_is_told_when_to_come_back() -> None:
    seen = EngineUnavailable("the engine is starting")
    assert not_ready(seen).headers() == {"retry-after": "2"}
    seen.retry_after_s = 21
    assert not_ready(seen).headers() == {"retry-after": "21"}
    assert "(the engine is starting)" in not_ready(seen).message


def test_one_whose_death_nobody_has_seen_yet_says_when_it_may_be_back() -> None:
    async def scenario() -> None:
        inner = FakeEngine("base")
        inner.faults.unavailable = True
        engine = pooled(Book(READY), inner=inner)
        with pytest.raises(EngineUnavailable) as refused:
            await ask(engine)
        assert refused.value.retry_after_s == 8
        await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("book", [Book(None), Book(READY, is_locked=True)])
def test_an_engine_of_which_nothing_is_known_is_asked_itself(book: Book) -> None:
    async def scenario() -> None:
        engine = pooled(book)
        assert b"read 1 messages" in await ask(engine)
        assert (await engine.health()).ready
        await engine.close()

    asyncio.run(scenario())


def test_what_cannot_be_reported_is_reported_later() -> None:
    async def scenario() -> None:
        book = Book(AWAY)
        engine = pooled(book)
        book.is_locked = True
        await ask(engine)
        assert book.reports == []
        book.is_locked = False
        await until(lambda: bool(book.reports))
        await engine.close()

    asyncio.run(scenario())


def test_a_thousand_requests_are_a_few_reports() -> None:
    async def scenario() -> None:
        book = Book(READY)
        engine = pooled(book)
        for _ in range(1000):
            await ask(engine)
        await engine.close()
        assert len(book.reports) <= 5

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("seen", "is_wanted", "detail"),
    [
        (READY, True, "ready"),
        (AWAY, False, "stopped: nobody asked"),
        (standing(EngineState.STOPPED, why=Why.TRAINING), False, "stopped: a training job has the device"),
        (standing(EngineState.FAILED), False, "failed"),
    ],
)
def test_the_health_of_an_engine_tells_what_is_away_by_plan(seen: Standing, is_wanted: bool, detail: str) -> None:
    async def scenario() -> None:
        engine = pooled(Book(seen))
        health = await engine.health()
        assert (health.is_wanted, health.detail) == (is_wanted, detail)
        await engine.close()

    asyncio.run(scenario())


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.02)


def test_a_full_model_of_which_nothing_is_known_yet_is_waited_for() -> None:
    async def scenario() -> None:
        book = Book(None)
        inner = FakeEngine("base")
        engine = PooledEngine("base", inner, EngineBoard(book.exchange), wait_s=5.0, on_demand=True)
        asking = asyncio.create_task(ask(engine))
        while not any(report.waiting for report in book.reports):
            await asyncio.sleep(0.01)
        assert not inner.bodies
        book.standing = READY
        assert b"base read 1 messages" in await asking
        await engine.close()

    asyncio.run(scenario())


def test_a_full_model_that_nobody_starts_is_said_to_wait_for_room() -> None:
    async def scenario() -> None:
        engine = PooledEngine("base", FakeEngine("base"), EngineBoard(Book(None).exchange), wait_s=0.0, on_demand=True)
        with pytest.raises(EngineUnavailable, match="waits for room"):
            await ask(engine)
        await engine.close()

    asyncio.run(scenario())
