"""Requests that nobody waits for: they take what clients leave, a few beside them, in equal shares."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from inference.engine import EngineRefusal
from inference.fake_engine import FakeEngine
from server.auth.caller import ProjectLimits
from server.base_models import BaseModelEntry, BaseModels
from server.batches.asking import ControlSocket, Request, Unreachable
from server.chat.operation import CHAT
from server.control import ControlApp
from server.db.remembered import Remembered
from server.fair_queue.background import BackgroundTurns, Foreground, background_places
from server.fair_queue.gate import Gate
from server.metering.account import Account
from server.metering.journal import Journal
from server.metering.lines import sum_lines
from server.metering.meter import Meter
from server.observing.chat_metrics import ChatMetrics
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.shared_buckets import SharedBuckets
from server.relay.background_desk import ENGINE_FIELDS, BackgroundDesk
from server.relay.cache_salt import CacheSalts
from server.relay.front_desk import FrontDesk
from server.relay.inner_door import InnerDoor
from server.relay.relay import Relay
from server.relay.targets import Targets
from tests import relay_server

MODEL = "tunesmith-demo"
BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}).encode()
KEY = "the API key of the settings, é"


@pytest.mark.parametrize(
    ("answering", "waiting", "is_recent", "places"),
    [
        (0, 0, False, 4),  # nobody is there
        (0, 0, True, 2),  # a client may come again
        (1, 0, True, 2),
        (7, 0, True, 1),
        (15, 0, True, 1),  # no stream of requests stops it for good
        (16, 0, True, 0),
        (3, 1, True, 0),  # a client waits
    ],
)
def test_places_in_the_background(answering: int, waiting: int, is_recent: bool, places: int) -> None:
    assert background_places(16, 2, Foreground(answering, waiting, is_recent)) == places


def test_projects_take_turns_in_the_background() -> None:
    turns = BackgroundTurns()
    for number in range(3):
        turns.wait("a", ("a", number))
    turns.wait("b", ("b", 0))
    let_in = [turns.next(9) for _ in range(5)]

    assert [one and one.ticket for one in let_in] == [("a", 0), ("b", 0), ("a", 1), ("a", 2), None]
    turns.leave("a")
    assert (turns.answering, turns.waiting) == (3, 0)


def test_a_request_for_many_answers_is_many_in_the_background_too() -> None:
    turns = BackgroundTurns()
    for ticket, n in (("first", 1), ("large", 100), ("last", 1)):
        turns.wait("a", ticket, n)

    assert [turns.next(4) for _ in range(3)] == [("first", 1), ("large", 100), None]
    turns.leave("a")
    assert turns.next(4) is None
    turns.leave("a", 100)
    assert turns.next(4) == ("last", 1)


def test_clients_are_let_in_at_once_whatever_is_in_the_background() -> None:
    async def scenario() -> None:
        gate = Gate(8, max_wait_s=1)
        await asyncio.gather(gate.enter_background("a"), gate.enter_background("a"))
        third = asyncio.create_task(gate.enter_background("a"))
        await asyncio.sleep(0)
        assert gate.in_background == (2, 1)
        assert [await gate.enter("b", at_most=None) for _ in range(2)] == [(0.0, 1), (0.0, 1)]
        gate.leave_background("a")
        gate.leave_background("a")
        await third  # beside the clients there is one place
        fourth = asyncio.create_task(gate.enter_background("a"))
        await asyncio.sleep(0)
        assert gate.in_background == (1, 1)
        fourth.cancel()
        await asyncio.gather(fourth, return_exceptions=True)
        gate.leave_background("a")
        assert gate.in_background == (0, 0)

    asyncio.run(scenario())


def test_a_place_that_comes_as_its_request_ends_goes_to_the_next() -> None:
    async def scenario() -> None:
        gate = Gate(2, max_wait_s=1)
        await gate.enter_background("a")
        second, third = (asyncio.create_task(gate.enter_background("a")) for _ in range(2))
        await asyncio.sleep(0)
        gate.leave_background("a")
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await third
        gate.leave_background("a")
        assert gate.in_background == (0, 0)

    asyncio.run(scenario())


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(MODEL)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "usage"


@pytest.fixture
def socket(tmp_path: Path, engine: FakeEngine, journal: Path) -> Iterator[Path]:
    """The control socket of an API process, as far as batches need one."""
    base = BaseModelEntry(name=MODEL, source="x", context_length=2048)
    desk = FrontDesk(
        limits=ProjectLimits(requests_per_minute=1, max_concurrent_answers=1),
        meter=Meter(Journal(journal), soon=lambda work: asyncio.get_running_loop().call_soon(work)),
        limiter=RateLimiter(SharedBuckets(tmp_path / "rate_limits"), clock=lambda: 1000.0),
        gates={MODEL: Gate(4, max_wait_s=60)},
        metrics=ChatMetrics(CollectorRegistry()),
    )
    targets = Targets(
        find_model=lambda _project, _name: None,
        engines={MODEL: engine},
        full_engines={},
        base_models=BaseModels((base,), {MODEL: base}),
        salts=CacheSalts(b"salt key"),
        remembered=Remembered(most=10),
    )
    relay = Relay(
        authenticate=lambda _headers: relay_server.TestCaller("mine"),
        version=lambda: 1,
        callers=Remembered(most=10),
        targets=targets,
        organization=b"acme",
        admission=BackgroundDesk(desk),
        engine_fields=ENGINE_FIELDS,
    )
    door = InnerDoor(relay, {CHAT.path: CHAT}, lambda project, key: _caller(project, key))
    path = tmp_path / "c.sock"
    server = uvicorn.Server(
        uvicorn.Config(ControlApp({MODEL: engine}, inner=door), uds=str(path), log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not path.exists() or not _answers(path):
        assert thread.is_alive()
    yield path
    server.should_exit = True
    thread.join(timeout=30)
    desk.meter.close()
    desk.limiter.close()


def test_a_request_of_a_batch_is_answered_behind_all_others_and_counted_as_a_batchs(
    socket: Path, engine: FakeEngine, journal: Path
) -> None:
    ask = ControlSocket(socket)
    answers = [asyncio.run(ask(Request("/v1/chat/completions", "mine", KEY, BODY))) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3, "a project's limits are those of its clients"
    assert json.loads(answers[0].body)["object"] == "chat.completion"
    assert len({answer.request_id for answer in answers}) == 3
    assert {body["priority"] for body in engine.bodies} == {1}
    ((account, amount),) = sum_lines(b"".join(path.read_bytes() for path in journal.glob("*.jsonl"))).items()
    assert account == Account("mine", KEY, MODEL, MODEL, account.minute, is_batch=True)
    assert (amount.requests, amount.finished) == (3, 3)


def test_what_is_wrong_with_it_is_answered_as_the_route_does(socket: Path, engine: FakeEngine) -> None:
    ask = ControlSocket(socket)

    def status(path: str, project: str, body: bytes) -> int:
        return asyncio.run(ask(Request(path, project, KEY, body))).status

    assert status("/v1/chat/completions", "mine", b"{}") == 400
    assert status("/v1/chat/completions", "mine", BODY[:-1] + b',"priority":-1}') == 400
    assert status("/v1/unknown", "mine", BODY) == 404
    assert status("/v1/chat/completions", "gone", BODY) == 404
    engine.faults.unavailable = True
    assert status("/v1/chat/completions", "mine", BODY) == 503
    engine.faults.unavailable, engine.faults.refusal = False, EngineRefusal(400, b"{}")
    assert status("/v1/chat/completions", "mine", BODY) == 400


def test_who_hangs_up_ends_what_the_engine_does(socket: Path, engine: FakeEngine) -> None:
    async def scenario() -> None:
        engine.faults.hold = asyncio.Event()
        asking = asyncio.create_task(ControlSocket(socket)(Request("/v1/chat/completions", "mine", KEY, BODY)))
        while not engine.running:
            await asyncio.sleep(0.01)
        asking.cancel()
        while engine.running:
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert engine.cancelled == 1


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        asyncio.run(ControlSocket(tmp_path / "nobody")(Request("/v1/chat/completions", "mine", KEY, BODY)))


def _caller(project: str, key: str) -> relay_server.TestCaller | None:
    return relay_server.TestCaller(project, key_id=key) if project == "mine" else None


def _answers(path: Path) -> bool:
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            return client.get("http://localhost/engines").status_code == 200
    except httpx.TransportError:
        return False
