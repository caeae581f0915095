"""Chat on the connection itself: however HTTP is written and cut, beside everything that is uvicorn's."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference.engine import AdapterRef, EngineRequest, Take
from inference.fake_engine import FakeEngine, Faults, stream_chunks
from server.base_models import BaseModelEntry
from server.relay.accounts import OpenDoor
from tests.raw_client import RawAnswer, RawClient
from tests.relay_server import KEYS, RelayServer

BASE = BaseModelEntry(name="tiny", source="x", context_length=1024)
MOST = 100_000
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayServer]:
    with RelayServer(lambda: FakeEngine("tiny"), BASE, max_body_bytes=MOST) as server:
        yield server


@pytest.fixture
def engine(relay: RelayServer) -> Iterator[FakeEngine]:
    assert isinstance(relay.engine, FakeEngine)
    yield relay.engine
    relay.engine.faults = Faults()
    relay.engine.bodies.clear()


@pytest.fixture
def client(relay: RelayServer, engine: FakeEngine) -> Iterator[RawClient]:
    with RawClient(relay.url) as client:
        yield client


def body_of(*, words: int = 1, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}] * words
    return json.dumps({"model": "tiny", "messages": messages, **fields}).encode()


def head_of(*more: str, key: str = "key-of-mine", method: str = "POST", path: str = PATH, http: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{http}", "host: x", f"authorization: Bearer {key}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def request_of(body: bytes, *more: str, **head: str) -> bytes:
    return head_of(*more, f"content-length: {len(body)}", **head) + body


def said(answer: RawAnswer) -> str:
    assert (answer.status, answer.is_whole) == (200, True)
    return str(json.loads(answer.body)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_request_may_come_in_pieces_of_any_size(client: RawClient, size: int) -> None:
    for words in (1, 2, 3):
        request = request_of(body_of(words=words))
        client.send(*(request[at : at + size] for at in range(0, len(request), size)))
        (answer,) = client.read()
        assert said(answer) == f"tiny read {words} messages"
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["openai-organization"] == "acme"
        assert "date" in answer.headers


def test_a_body_may_come_in_chunks(client: RawClient) -> None:
    body = body_of()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    for _ in range(2):
        client.send(head_of("transfer-encoding: chunked") + chunks)
        assert said(client.read()[0]) == "tiny read 1 messages"


def test_requests_sent_at_once_are_answered_one_by_one_in_their_order(client: RawClient, engine: FakeEngine) -> None:
    other = request_of(b"", method="GET", path="/other")
    chats = [request_of(body_of(words=words)) for words in (1, 2, 3)]
    client.send(chats[0] + other + chats[1] + chats[2] + other)
    first, second, third, fourth, fifth = client.read(5)
    assert [said(first), said(third), said(fourth)] == [f"tiny read {words} messages" for words in (1, 2, 3)]
    assert [(one.status, one.body) for one in (second, fifth)] == [(404, b"no")] * 2


def test_a_request_that_comes_during_an_answer_waits_for_its_end(
    relay: RelayServer, client: RawClient, engine: FakeEngine
) -> None:
    engine.faults.hold = asyncio.Event()
    client.send(request_of(body_of(stream=True)))
    client.read_some()
    client.send(request_of(body_of(words=2)))
    _wait_until(lambda: engine.running == 1)
    relay.call(engine.faults.hold.set)
    while not client.answers or not client.answers[-1].is_whole or len(client.answers) < 2:
        client.read_some()
    stream, whole = client.answers
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert said(whole) == "tiny read 2 messages"


def test_who_waits_for_leave_to_send_a_body_gets_it_if_the_key_is_right(relay: RelayServer, client: RawClient) -> None:
    body = body_of()
    for _ in range(2):
        client.send(head_of("expect: 100-continue", f"content-length: {len(body)}"))
        assert client.read()[0].status == 100
        client.send(body)
        assert said(client.read()[0]) == "tiny read 1 messages"
    client.send(head_of("expect: 100-continue", f"content-length: {len(body)}", key="wrong"))
    assert client.read()[0].status == 401


def test_a_head_without_a_body_is_what_head_gets(client: RawClient) -> None:
    client.send(head_of("content-length: 0", method="HEAD"))
    raw = client.socket.recv(65536)
    assert raw.startswith(b"HTTP/1.1 405 ")
    assert raw.endswith(b"\r\n\r\n")
    assert b"allow: GET, POST\r\n" in raw


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PATH}?api-version=1", 200),
        (f"http://somewhere{PATH}", 200),
        ("/v1/chat/%63ompletions", 200),
        (f"{PATH}/", 404),
        (f"/{PATH}", 404),
        (PATH.upper(), 404),
        ("/v1/chat", 404),
        ("/v1/chat/completions%2F", 404),
    ],
)
def test_the_path_alone_says_that_it_is_chat(client: RawClient, path: str, status: int) -> None:
    client.send(request_of(body_of(), path=path))
    assert client.read()[0].status == status


@pytest.mark.parametrize(("more", "http"), [(["connection: close"], "1.1"), ([], "1.0")])
def test_a_connection_ends_after_the_answer_where_it_is_to(client: RawClient, more: list[str], http: str) -> None:
    client.send(request_of(body_of(), *more, http=http))
    client.read_to_end()
    assert said(client.answers[0]) == "tiny read 1 messages"
    assert client.answers[0].headers["connection"] == "close"


def test_another_key_on_a_kept_connection_is_another_caller(client: RawClient, engine: FakeEngine) -> None:
    for key in ("key-of-mine", "key-of-mine", "key-of-none", "key-of-theirs", "key-of-mine"):
        client.send(request_of(body_of(), key=key))
    assert [answer.status for answer in client.read(5)] == [200, 200, 401, 200, 200]
    mine, mine_again, theirs, mine_at_last = (body["cache_salt"] for body in engine.bodies)
    assert mine == mine_again == mine_at_last != theirs


def test_a_key_that_is_revoked_is_refused_on_a_kept_connection(
    client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keys, status in (({}, 200), ({}, 200), (None, 401)):
        if keys is None:
            monkeypatch.delitem(KEYS, "Bearer key-of-mine")
        client.send(request_of(body_of()))
        assert client.read()[0].status == status


@pytest.mark.parametrize("framing", ["its length", "chunks"])
def test_a_body_beyond_the_limit_is_refused_while_it_still_comes(client: RawClient, framing: str) -> None:
    size = 4 * MOST
    if framing == "chunks":
        client.send(head_of("transfer-encoding: chunked"), b"%x\r\n" % size)
    else:
        client.send(head_of(f"content-length: {size}"))
    client.send(b" " * (MOST + 1))
    (refused,) = client.read()
    assert refused.status == 413
    client.send(b" " * (size - MOST - 1), *([b"\r\n0\r\n\r\n"] if framing == "chunks" else []))
    client.send(request_of(body_of()))
    assert said(client.read()[0]) == "tiny read 1 messages"


def test_what_is_no_http_is_refused(client: RawClient) -> None:
    client.send(request_of(body_of()))
    assert said(client.read()[0])
    client.send(b"HELLO\r\n\r\n")
    assert client.read()[0].status == 400
    client.read_to_end()


def test_a_client_that_goes_before_its_body_is_whole_is_no_fault(relay: RelayServer, engine: FakeEngine) -> None:
    with RawClient(relay.url) as leaving:
        leaving.send(head_of("content-length: 1000") + b"{")
    with RawClient(relay.url) as staying:
        staying.send(request_of(body_of()))
        assert said(staying.read()[0])
    assert len(engine.bodies) == 1


class Talker(FakeEngine):
    """Says one word again and again, as fast as it is taken."""

    n_words = 60_000
    n_given = 0

    async def answer(self, request: EngineRequest, _adapter: AdapterRef | None, take: Take) -> None:
        first, word, *others = stream_chunks(json.loads(request.body))
        for chunk in (first, *[word] * self.n_words, *others):
            self.n_given += 1
            if (until_taken := take(chunk)) is not None:
                await until_taken


def test_a_slow_reader_holds_the_engine_up_and_gets_everything_in_the_end() -> None:
    engine = Talker("tiny")
    with RelayServer(lambda: engine, BASE) as server, RawClient(server.url) as client:
        client.send(request_of(body_of(stream=True)))
        seen = -1
        while seen != engine.n_given or not seen:  # until it gets no further
            seen = engine.n_given
            server.run(asyncio.sleep(0.05))
        assert seen < Talker.n_words / 2
        client.read()
        assert client.answers[0].body.endswith(b"data: [DONE]\n\n")
        assert client.answers[0].body.count(b'"tiny "') == Talker.n_words


class Broken(OpenDoor):
    """An admission with a fault, before or within the answer."""

    where = "before"

    async def admit(self, *_: object) -> "Broken":
        if self.where == "before":
            raise RuntimeError("a fault of ours")
        return self

    def relayed(self, _so_far: object) -> None:
        if self.where == "within":
            raise RuntimeError("a fault of ours")


def test_a_fault_of_ours_is_a_500_or_a_cut_and_never_a_whole_answer(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    with RelayServer(lambda: FakeEngine("tiny"), BASE, admission=broken) as server, RawClient(server.url) as client:
        client.send(request_of(body_of(stream=True)))
        (fault,) = client.read()
        assert (fault.status, fault.headers["x-request-id"] in caplog.text) == (500, True)
        assert fault.headers["x-request-id"] in json.loads(fault.body)["error"]["message"]
        broken.where = "within"
        client.send(request_of(body_of(stream=True)))
        (cut,) = client.read()
        assert (cut.status, cut.is_whole, client.is_ended) == (200, False, True)


def test_an_answer_under_way_is_finished_when_the_server_is_told_to_stop() -> None:
    engine = FakeEngine("tiny", faults=Faults(hold=asyncio.Event()))
    with RelayServer(lambda: engine, BASE) as server, RawClient(server.url) as client, RawClient(server.url) as idle:
        idle.send(request_of(b"", method="GET", path="/other"))
        idle.read()
        client.send(request_of(body_of(stream=True)))
        client.read_some()
        server.stop()
        idle.read_to_end()
        server.call(engine.faults.hold.set)  # type: ignore[union-attr]
        client.read_to_end()
        assert client.answers[0].is_whole
        assert client.answers[0].body.endswith(b"data: [DONE]\n\n")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
