"""The relay before a fake engine, asked by the official client over real HTTP."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from inference.engine import AdapterRef, EngineRefusal
from inference.fake_engine import FakeEngine, Faults
from server.base_models import BaseModelEntry
from server.chat.request import ChatRequest
from server.errors import ApiError
from server.relay.accounts import Caller, Usage
from tests.adapter_files import refer_to, write_adapter
from tests.relay_server import RelayServer

BASE = BaseModelEntry(name="tiny", source="x", aliases=("gpt-4o-mini",), context_length=1024, tool_call_parser="hermes")
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "f"}}]
FT = "ft:gpt-4o-mini:acme::abcd1234"


@dataclass
class Ledger:
    """An admission that writes down what it is told, and lets nobody in when it is full."""

    told: list[Any] = field(default_factory=list)
    is_full: bool = False
    headers: Sequence[tuple[bytes, bytes]] = ((b"x-ratelimit-remaining-requests", b"7"),)

    async def admit(self, caller: Caller, request: ChatRequest, *_: object) -> "Ledger":
        if self.is_full:
            raise TooManyRequests("Rate limit reached.", code="rate_limit_exceeded")
        self.told = [(caller.project_id, caller.key_id, request.model)]
        return self

    def relayed(self, so_far: Callable[[], Usage | None]) -> None:
        self.so_far = so_far
        self.told.append("relayed")

    def finished(self, usage: Usage, send: Callable[[], None]) -> None:
        self.told.append(usage)
        send()

    def refused(self, status: int) -> None:
        self.told.append(status)

    def close(self) -> None:
        self.told.append("closed")


LEDGER = Ledger()


class TooManyRequests(ApiError):
    status = 429


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayServer]:
    with RelayServer(lambda: FakeEngine("tiny"), BASE, max_body_bytes=100_000, admission=LEDGER) as server:
        yield server


@pytest.fixture
def engine(relay: RelayServer) -> Iterator[FakeEngine]:
    assert isinstance(relay.engine, FakeEngine)
    yield relay.engine
    relay.engine.faults = Faults()
    relay.engine.bodies.clear()
    relay.engine.resident.clear()
    relay.models.clear()


@pytest.fixture
def client(relay: RelayServer, engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with relay.client() as client:
        yield client


@pytest.fixture
def http(relay: RelayServer, engine: FakeEngine) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=relay.url, headers={"authorization": "Bearer key-of-mine"}, timeout=30) as client:
        yield client


@pytest.fixture
def model(relay: RelayServer, tmp_path: Path) -> AdapterRef:
    return relay.add_model(refer_to(write_adapter(tmp_path / "adapter"), FT, "tiny"))


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("name", ["tiny", "gpt-4o-mini"])
def test_the_answer_names_the_model_that_was_asked(client: openai.OpenAI, name: str) -> None:
    answer = client.chat.completions.create(model=name, messages=HELLO)
    assert answer.model == name
    assert answer.choices[0].message.content == "tiny read 1 messages"
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["tiny", "gpt-4o-mini"])
def test_every_chunk_names_the_model_that_was_asked(client: openai.OpenAI, name: str) -> None:
    chunks = list(client.chat.completions.create(model=name, messages=HELLO, stream=True))
    assert {chunk.model for chunk in chunks} == {name}
    assert text_of(chunks).strip() == "tiny read 1 messages"


def test_a_fine_tuned_model_answers_under_its_name(client: openai.OpenAI, model: AdapterRef) -> None:
    answer = client.chat.completions.create(model=model.name, messages=HELLO)
    assert answer.model == model.name
    assert answer.choices[0].message.content == f"{model.name} read 1 messages"


def test_usage_comes_last_in_a_stream_that_asks_for_it(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="tiny", messages=HELLO, stream=True, stream_options=options))
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_the_streaming_helper_of_the_client_works(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="tiny", messages=HELLO) as stream:
        assert (stream.get_final_completion().choices[0].message.content or "").startswith("tiny read")


def test_the_asynchronous_client_asks_many_at_once_on_kept_connections(relay: RelayServer, engine: FakeEngine) -> None:
    async def ask(client: openai.AsyncOpenAI, *, words: int) -> str:
        messages = HELLO * words
        stream = await client.chat.completions.create(model="tiny", messages=messages, stream=True)
        streamed = "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices]).strip()
        whole = await client.chat.completions.create(model="tiny", messages=messages)
        assert whole.choices[0].message.content == streamed
        return streamed

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{relay.url}/v1",
            api_key="key-of-mine",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(),
        ) as client:
            return await asyncio.gather(*(ask(client, words=words) for words in range(1, 21)))

    assert asyncio.run(ask_all()) == [f"tiny read {words} messages" for words in range(1, 21)]


def test_a_model_of_another_project_is_exactly_as_unknown_as_one_that_never_was(
    relay: RelayServer, client: openai.OpenAI, model: AdapterRef
) -> None:
    with relay.client("key-of-theirs") as stranger, pytest.raises(openai.NotFoundError) as foreign:
        stranger.chat.completions.create(model=model.name, messages=HELLO)
    never = model.name.replace("abcd", "dcba")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model=never, messages=HELLO)
    assert foreign.value.code == unknown.value.code == "model_not_found"
    assert foreign.value.message.replace(model.name, never) == unknown.value.message
    assert f"The model '{never}' does not exist or you do not have access to it." in unknown.value.message


def test_a_wrong_key_is_refused(relay: RelayServer) -> None:
    with relay.client("wrong") as nobody, pytest.raises(openai.AuthenticationError) as caught:
        nobody.chat.completions.create(model="tiny", messages=HELLO)
    assert caught.value.code == "invalid_api_key"


def test_the_model_of_an_unfinished_job_says_so(client: openai.OpenAI) -> None:
    unfinished: Any = None
    with pytest.raises(openai.BadRequestError, match="null until the job has succeeded"):
        client.chat.completions.create(model=unfinished, messages=HELLO)


def test_a_field_of_the_engines_own_is_refused_by_name(client: openai.OpenAI, engine: FakeEngine) -> None:
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: top_k"):
        client.chat.completions.create(model="tiny", messages=HELLO, extra_body={"top_k": 1})
    assert engine.bodies == []


def test_tools_need_a_base_with_a_tool_parser() -> None:
    base = BASE.model_copy(update={"tool_call_parser": None})
    with (
        RelayServer(lambda: FakeEngine("tiny"), base) as server,
        server.client() as client,
        pytest.raises(openai.BadRequestError, match="cannot call tools"),
    ):
        client.chat.completions.create(model="tiny", messages=HELLO, tools=TOOLS)


def test_what_is_not_json_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", content=b"not json")
    assert answer.status_code == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


def test_a_body_beyond_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", content=b" " * 100_001)
    assert answer.status_code == 413
    assert "at most 100000 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_answered(http: httpx.Client, method: str) -> None:
    answer = http.request(method, "/v1/chat/completions")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_every_answer_has_a_request_id(http: httpx.Client) -> None:
    for body in ({"model": "tiny", "messages": HELLO}, {"model": "tiny", "messages": HELLO, "stream": True}, {}):
        headers = http.post("/v1/chat/completions", json=body).headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["openai-organization"] == "acme"


def test_projects_share_no_prefix_cache(relay: RelayServer, engine: FakeEngine) -> None:
    for key in ("key-of-mine", "key-of-theirs", "key-of-mine"):
        with relay.client(key) as client:
            client.chat.completions.create(model="tiny", messages=HELLO)
    mine, theirs, mine_again = (body["cache_salt"] for body in engine.bodies)
    assert mine == mine_again != theirs
    assert mine.startswith("s1:")


def test_what_the_engine_refuses_is_said_in_openais_words(client: openai.OpenAI, engine: FakeEngine) -> None:
    refusal = {"error": {"message": "...", "type": "BadRequestError", "param": "input_tokens", "code": 400}}
    engine.faults.refusal = EngineRefusal(400, json.dumps(refusal).encode())
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="maximum context length is 1024 tokens") as caught:
            client.chat.completions.create(model="tiny", messages=HELLO, stream=stream)
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_engine_that_is_down_says_try_again(client: openai.OpenAI, engine: FakeEngine, *, stream: bool) -> None:
    engine.faults.unavailable = True
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="tiny", messages=HELLO, stream=stream)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "2"


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_stream_that_breaks_off_raises_in_the_client(
    client: openai.OpenAI, http: httpx.Client, engine: FakeEngine, chunks: int
) -> None:
    engine.faults.break_after_chunks = chunks
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(model="tiny", messages=HELLO, stream=True))
    sent = http.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "stream": True}).text
    assert '"error"' in sent
    assert "[DONE]" not in sent


def test_an_answer_that_breaks_off_before_anything_was_sent_is_a_server_error(
    client: openai.OpenAI, engine: FakeEngine
) -> None:
    engine.faults.break_after_chunks = 0
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="tiny", messages=HELLO, stream=stream)


def test_a_model_with_damaged_files_fails_for_its_client_alone(client: openai.OpenAI, model: AdapterRef) -> None:
    weights = model.directory / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(openai.InternalServerError, match=r"adapter_model\.safetensors is damaged") as caught:
        client.chat.completions.create(model=model.name, messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (503, "model_not_servable")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert client.chat.completions.create(model="tiny", messages=HELLO).model == "tiny"


def test_every_answer_says_by_its_hash_which_weights_gave_it(http: httpx.Client, model: AdapterRef) -> None:
    for stream in (False, True):
        for name, weights in ((model.name, f"sha256:{model.sha256}"), ("tiny", "none"), ("gpt-4o-mini", "none")):
            body = {"model": name, "messages": HELLO, "stream": stream}
            answer = http.post("/v1/chat/completions", json=body)
            assert (answer.status_code, answer.headers["x-tunesmith-adapter"]) == (200, weights)
    assert len(model.sha256) == 64


def test_an_error_says_of_no_weights_that_they_gave_it(
    http: httpx.Client, engine: FakeEngine, model: AdapterRef
) -> None:
    engine.faults.break_after_chunks = 0
    for stream in (False, True):
        answer = http.post("/v1/chat/completions", json={"model": model.name, "messages": HELLO, "stream": stream})
        assert answer.status_code == 503
        assert "x-tunesmith-adapter" not in answer.headers


def test_a_model_deleted_while_it_was_being_loaded_is_unknown(
    relay: RelayServer, client: openai.OpenAI, tmp_path: Path
) -> None:
    class Deleting(dict[tuple[str, str], AdapterRef]):
        def get(self, key: Any, default: Any = None) -> Any:
            return self.pop(key, default)

    models, relay.models = relay.models, Deleting()
    relay.add_model(refer_to(tmp_path / "gone", FT, "tiny"))
    try:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model=FT, messages=HELLO)
    finally:
        relay.models = models


def test_a_client_that_hangs_up_cancels_the_work_in_the_engine(http: httpx.Client, engine: FakeEngine) -> None:
    engine.faults.hold = asyncio.Event()
    body = {"model": "tiny", "messages": HELLO, "stream": True}
    before = engine.cancelled
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        chunks = answer.iter_bytes()
        assert next(chunks)
        assert engine.running == 1
    _wait_until(lambda: engine.cancelled == before + 1 and engine.running == 0)


def test_a_client_that_hangs_up_before_a_whole_answer_cancels_it_too(relay: RelayServer, engine: FakeEngine) -> None:
    engine.faults.hold = asyncio.Event()
    before = engine.cancelled
    with pytest.raises(openai.APITimeoutError), relay.client() as client:
        client.with_options(timeout=0.3).chat.completions.create(model="tiny", messages=HELLO)
    _wait_until(lambda: engine.cancelled == before + 1 and engine.running == 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_an_answer_came_to_is_told_once_to_who_let_it_in(http: httpx.Client, *, stream: bool) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "stream": stream})
    begun = ["relayed"] if stream else []
    _wait_until(lambda: "closed" in LEDGER.told)
    assert LEDGER.told == [("mine", "key_1", "tiny"), *begun, Usage(1, 4), "closed"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "7"
    assert ('"usage"' in answer.text) is not stream


def test_of_a_stream_that_breaks_off_it_is_known_what_was_relayed(http: httpx.Client, engine: FakeEngine) -> None:
    engine.faults.break_after_chunks = 3
    http.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "stream": True})
    _wait_until(lambda: "closed" in LEDGER.told)
    assert LEDGER.told == [("mine", "key_1", "tiny"), "relayed", "closed"]
    assert LEDGER.so_far() == Usage(1, 2)


def test_of_a_client_that_hangs_up_too(http: httpx.Client, engine: FakeEngine) -> None:
    engine.faults.hold = asyncio.Event()
    body = {"model": "tiny", "messages": HELLO, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert next(answer.iter_bytes())
        started = time.monotonic()
    _wait_until(lambda: "closed" in LEDGER.told)
    assert time.monotonic() - started < 1
    assert LEDGER.so_far() == Usage(1, 0)


def test_who_is_not_let_in_does_not_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    LEDGER.is_full = True
    try:
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="tiny", messages=HELLO)
    finally:
        LEDGER.is_full = False
    assert engine.bodies == []


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
