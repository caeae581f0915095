"""Responses whose clients do not wait: polled, cancelled from any process, and taken over where theirs was ended."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from inference.engine import EngineRefusal
from inference.fake_engine import FakeEngine, Faults
from server.auth.api_keys import create_key
from server.auth.caller import Caller
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.db.tables import ResponseRow
from server.relay.inner import InnerAnswer
from server.responses.background import MAX_UNFINISHED, BackgroundResponses
from server.responses.desk import ResponseDesk
from server.responses.keeping import RUNNER
from server.responses.operation import build_operation
from server.responses.request import read_request
from server.responses.retention import Retention
from tests.factories import make_response
from tests.running_api import make_settings, serving

MODEL = "gpt-4o-mini"


@dataclass(frozen=True)
class Process:
    """An API on a home that others may have, too."""

    client: openai.OpenAI
    engine: FakeEngine
    services: Services


@contextmanager
def process(home: Path, key: str | None = None, **settings: object) -> Iterator[Process]:
    engine = FakeEngine("tunesmith-demo", reads_files=False)
    services = build_services(make_settings(home, **settings), {"tunesmith-demo": engine})
    key = key or create_key(services.database, "mine").plaintext
    with (
        serving(services) as url,
        openai.OpenAI(base_url=url, api_key=key, max_retries=0, _strict_response_validation=True) as client,
    ):
        yield Process(client, engine, services)
    services.database.dispose()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home: Path) -> Iterator[Process]:
    with process(home) as first:
        yield first


@pytest.fixture(scope="module")
def second(home: Path, first: Process) -> Iterator[Process]:
    with process(home, first.client.api_key) as second:
        yield second


@pytest.fixture
def held(first: Process) -> Iterator[FakeEngine]:
    """The engine of the first process, which answers nothing while it is asked for."""
    until(lambda: first.engine.running, lambda n: n == 0)  # of another test's work
    first.engine.faults.hold = asyncio.Event()
    yield first.engine
    first.engine.faults = Faults()


def begin(process: Process, **options: Any) -> Any:
    return process.client.responses.create(model=MODEL, input="Hello", background=True, **options)


def until(look: Callable[[], Any], is_it: Callable[[Any], bool]) -> Any:
    """Look until it is so."""
    for _ in range(1000):
        if is_it(seen := look()):
            return seen
        time.sleep(0.02)
    raise AssertionError(seen)


def ended(process: Process, response_id: str) -> Any:
    return until(
        lambda: process.client.responses.retrieve(response_id),
        lambda seen: seen.status not in ("queued", "in_progress"),
    )


def test_a_response_in_the_background_is_queued_and_then_completed(first: Process) -> None:
    begun = begin(first, instructions="Be brief", metadata={"a": "b"})
    done = ended(first, begun.id)

    assert begun.status == "queued"
    assert begun.output == []
    assert done.status == "completed"
    assert done.output_text == "tunesmith-demo read 2 messages"
    assert done.usage is not None
    assert (done.background, done.instructions, done.metadata) == (True, "Be brief", {"a": "b"})
    assert first.client.responses.cancel(begun.id) == done


def test_a_conversation_goes_on_from_the_background_when_it_has_ended(first: Process, held: FakeEngine) -> None:
    begun = begin(first)
    until(lambda: held.running, bool)
    with pytest.raises(openai.BadRequestError, match="has not ended yet"):
        first.client.responses.create(model=MODEL, input="More", previous_response_id=begun.id)
    assert first.client.responses.retrieve(begun.id).status == "in_progress"
    assert first.client.responses.cancel(begun.id).status == "cancelled"


def test_a_response_is_cancelled_by_another_process_than_works_on_it(
    first: Process, second: Process, held: FakeEngine
) -> None:
    begun = begin(first)
    until(lambda: held.running, bool)
    n_before = held.cancelled
    cancelled = second.client.responses.cancel(begun.id)

    assert cancelled.status == "cancelled"
    until(lambda: held.cancelled, lambda n: n == n_before + 1)
    assert held.running == 0
    assert second.client.responses.cancel(begun.id) == cancelled
    assert first.client.responses.retrieve(begun.id) == cancelled


def test_the_work_on_a_deleted_response_ends(first: Process, second: Process, held: FakeEngine) -> None:
    begun = begin(first)
    until(lambda: held.running, bool)
    second.client.responses.delete(begun.id)

    until(lambda: held.running, lambda n: n == 0)
    with pytest.raises(openai.NotFoundError):
        first.client.responses.retrieve(begun.id)


def test_what_the_engine_refuses_has_failed(first: Process) -> None:
    said = {"error": {"message": "too long", "param": "input_tokens", "code": 400}}
    first.engine.faults.refusal = EngineRefusal(400, json.dumps(said).encode())
    failed = ended(first, begin(first).id)
    first.engine.faults = Faults()

    assert failed.status == "failed"
    assert failed.error.code == "invalid_prompt"
    assert "maximum context length" in failed.error.message


AWAY = InnerAnswer(503, "req_1", b'{"error": {"message": "not ready", "param": null, "code": "engine_unavailable"}}')
BROKEN = InnerAnswer(503, "req_1", b'{"error": {"message": "damaged", "param": null, "code": "model_not_servable"}}')


@pytest.mark.parametrize(("answers", "n_asked"), [([AWAY, AWAY, BROKEN], 3), ([BROKEN, AWAY], 1)])
def test_an_engine_that_is_away_is_waited_for_and_a_broken_model_is_not(
    first: Process, answers: list[InnerAnswer], n_asked: int
) -> None:
    services, caller = first.services, _caller_of(first)
    desk = ResponseDesk(services.database, Retention(days=30), 1024, time.time)
    left = list(answers)

    async def ask(*_: object) -> InnerAnswer:
        return left.pop(0)

    async def work() -> str:
        working = BackgroundResponses(
            desk, services.locks, build_operation(desk), ask, find_caller=lambda *_: caller, pause_s=0
        )
        request = read_request(json.dumps({"model": "m", "input": "Hello", "background": True}).encode())
        begun = await working.take(caller, await desk.prepare(caller, request))
        assert begun is not None
        response_id = str(json.loads(begun)["id"])
        while first.client.responses.retrieve(response_id).status != "failed":
            await asyncio.sleep(0.01)
        await working.close()
        return response_id

    failed = first.client.responses.retrieve(asyncio.run(work()))
    assert failed.error is not None
    assert failed.error.message == "damaged"
    assert len(answers) - len(left) == n_asked


def test_an_unknown_model_is_refused_at_once(first: Process) -> None:
    with pytest.raises(openai.NotFoundError):
        first.client.responses.create(model="nobody's", input="Hello", background=True)


def test_a_project_has_no_more_in_the_background_than_it_may(first: Process) -> None:
    with first.services.locks.take(RUNNER, "lives") or nullcontext():
        project = _caller_of(first).project_id
        rows = [make_response(first.services, project, runner="lives") for _ in range(MAX_UNFINISHED)]
        with pytest.raises(openai.RateLimitError, match="in the background at once"):
            begin(first)
        first.client.responses.cancel(rows[-1].id)
        assert begin(first).status == "queued"
    for row in rows:  # all but those that were cancelled are taken over
        ended(first, row.id)


def test_what_an_ended_process_leaves_is_answered_by_the_next(tmp_path: Path) -> None:
    """With what it went on from."""
    with process(tmp_path) as first:
        said = first.client.responses.create(model=MODEL, input="Hello")
        first.engine.faults.hold = asyncio.Event()
        begun = begin(first, previous_response_id=said.id, instructions="Be brief")
        until(lambda: first.engine.running, bool)
        key = first.client.api_key
    with process(tmp_path, key) as second:
        done = ended(second, begun.id)

    assert (done.id, done.created_at) == (begun.id, begun.created_at)
    assert (done.status, done.output_text) == ("completed", "tunesmith-demo read 4 messages")
    assert (done.instructions, done.previous_response_id) == ("Be brief", said.id)


def test_another_process_goes_on_with_what_one_has_left_and_leaves_alone_what_it_has(
    first: Process, second: Process
) -> None:
    project = _caller_of(first).project_id
    left = make_response(first.services, project, runner="killed")
    worked_on = make_response(first.services, project, runner="lives")
    with first.services.locks.take(RUNNER, "lives") or nullcontext():
        assert ended(second, left.id).status == "completed"
        assert second.client.responses.retrieve(worked_on.id).status == "queued"
    assert ended(second, worked_on.id).status == "completed"


def test_what_ends_every_process_that_works_on_it_is_given_up(first: Process) -> None:
    row = make_response(first.services, _caller_of(first).project_id, runner="killed", n_runners=10)

    given_up = ended(first, row.id)
    assert given_up.status == "failed"
    assert given_up.error is not None
    assert given_up.error.code == "server_error"
    assert "server was stopped each time" in given_up.error.message


def test_what_cannot_be_asked_again_has_failed(first: Process) -> None:
    """The response it went on from was deleted meanwhile."""
    project = _caller_of(first).project_id
    row = make_response(first.services, project, runner="killed", previous_response_id="resp_gone")

    failed = ended(first, row.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "'resp_gone' not found" in failed.error.message


def test_what_is_no_request_any_more_has_failed(first: Process) -> None:
    """Another version of the server took it."""
    project = _caller_of(first).project_id
    with first.services.locks.take(RUNNER, "lives") or nullcontext():
        row = make_response(first.services, project, runner="lives")
        with project_session(first.services.database, project, write=True) as session:
            session.get_one(ResponseRow, row.id).asked = b'{"model": "m", "input": "Hello", "unheard_of": 1}'

    failed = ended(first, row.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "unheard_of" in failed.error.message
    assert "Hello" not in failed.error.message


def test_a_server_that_keeps_nothing_has_no_background_and_stores_nothing(tmp_path: Path) -> None:
    with process(tmp_path, response_retention_days=0) as forgetful:
        with pytest.raises(openai.BadRequestError, match="stores no responses"):
            begin(forgetful)
        given = forgetful.client.responses.create(model=MODEL, input="Hello", store=True)
        with pytest.raises(openai.NotFoundError):
            forgetful.client.responses.retrieve(given.id)

    assert given.to_dict()["store"] is False


def _caller_of(process: Process) -> Caller:
    header = (b"authorization", f"Bearer {process.client.api_key}".encode())
    return process.services.authenticator.authenticate([header])
