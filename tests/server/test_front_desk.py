"""Limits, the gate, metering, metrics and traces, with the relay and the official client before a fake engine."""

import asyncio
import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import openai
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry, generate_latest

from inference.engine import EngineRefusal
from inference.fake_engine import FakeEngine
from server.auth.caller import ProjectLimits
from server.base_models import BaseModelEntry
from server.fair_queue.gate import Gate
from server.metering.account import Account, Amount
from server.metering.journal import Journal
from server.metering.lines import sum_lines
from server.metering.meter import Meter
from server.observing.chat_metrics import ChatMetrics
from server.observing.tracing import OtlpTracing
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.shared_buckets import SharedBuckets
from server.relay.front_desk import FrontDesk
from tests.relay_server import RelayServer

CANARY = "canary-5f1d"
MODEL = "tunesmith-demo"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def desk(tmp_path: Path, registry: CollectorRegistry) -> Iterator[FrontDesk]:
    desk = FrontDesk(
        limits=ProjectLimits(),
        meter=Meter(Journal(tmp_path / "usage")),
        limiter=RateLimiter(SharedBuckets(tmp_path / "rate_limits"), clock=lambda: 1000.0),
        gates={MODEL: Gate(2, max_wait_s=60)},
        metrics=ChatMetrics(registry),
    )
    yield desk
    desk.meter.close()
    desk.limiter.close()


@contextmanager
def relaying(desk: FrontDesk, engine: FakeEngine) -> Iterator[RelayServer]:
    with RelayServer(
        lambda: engine, BaseModelEntry(name=MODEL, source="x", context_length=2048), admission=desk
    ) as relay:
        yield relay


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(MODEL)


@pytest.fixture
def used(tmp_path: Path) -> Callable[[], Amount]:
    def used() -> Amount:
        lines = b"".join(path.read_bytes() for path in (tmp_path / "usage").glob("*.jsonl"))
        return sum(sum_lines(lines).values(), Amount())

    return used


def _ask(client: openai.OpenAI, *, text: str = "Hello", **options: int) -> openai.types.CompletionUsage:
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **options)
    assert answer.usage is not None
    return answer.usage


def _stream(client: openai.OpenAI) -> "openai.Stream[openai.types.chat.ChatCompletionChunk]":
    return client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": CANARY}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )


def _shown(desk: FrontDesk, registry: CollectorRegistry) -> str:
    desk.metrics.of(MODEL).show(under_way=0, waiting=0)
    return generate_latest(registry).decode()


def _eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_whole_answers_and_streams_are_metered_to_the_token(
    desk: FrontDesk, engine: FakeEngine, used: Callable[[], Amount]
) -> None:
    with relaying(desk, engine) as relay, relay.client() as client:
        counted = [_ask(client)] + [chunk.usage for chunk in _stream(client) if chunk.usage]

    prompt = sum(usage.prompt_tokens for usage in counted if usage)
    completion = sum(usage.completion_tokens for usage in counted if usage)
    assert completion > 0
    assert used()[:3] == (2, 2, prompt)
    assert used().completion_tokens == completion


def test_usage_is_counted_for_the_key_under_the_name_that_was_asked(
    desk: FrontDesk, engine: FakeEngine, tmp_path: Path
) -> None:
    with relaying(desk, engine) as relay, relay.client() as client:
        _ask(client)
    (account,) = sum_lines(next((tmp_path / "usage").iterdir()).read_bytes())

    assert isinstance(account, Account)
    assert account[:4] == ("mine", "key_1", MODEL, MODEL)


def test_a_broken_stream_is_metered_by_what_was_relayed_and_frees_its_place(
    desk: FrontDesk, engine: FakeEngine, used: Callable[[], Amount], registry: CollectorRegistry
) -> None:
    engine.faults.break_after_chunks = 3
    with relaying(desk, engine) as relay, relay.client() as client:
        stream = _stream(client)
        with pytest.raises(openai.APIError):
            list(stream)
        _eventually(lambda: desk.gates[MODEL].answering == 0)

    assert used()[:2] == (1, 0)
    assert 0 < used().completion_tokens <= 3
    assert 'tunesmith_chat_requests_total{base_model="tunesmith-demo",status="cut"} 1.0' in _shown(desk, registry)


def test_a_request_that_the_engine_refuses_has_used_nothing(
    desk: FrontDesk, engine: FakeEngine, used: Callable[[], Amount], registry: CollectorRegistry
) -> None:
    engine.faults.refusal = EngineRefusal(400, b'{"error": {"message": "no", "code": 400}}')
    with relaying(desk, engine) as relay, relay.client() as client, pytest.raises(openai.BadRequestError):
        _ask(client)

    assert used() == Amount()
    assert desk.gates[MODEL].answering == 0
    assert 'tunesmith_chat_requests_total{base_model="tunesmith-demo",status="4xx"} 1.0' in _shown(desk, registry)


def test_a_client_that_goes_frees_its_place_and_what_it_got_is_counted(
    desk: FrontDesk, engine: FakeEngine, used: Callable[[], Amount]
) -> None:
    with relaying(desk, engine) as relay, relay.client() as client:

        async def hold() -> None:
            engine.faults.hold = asyncio.Event()

        relay.run(hold())
        stream = _stream(client)
        next(iter(stream))
        assert desk.gates[MODEL].answering == 1
        stream.close()
        _eventually(lambda: desk.gates[MODEL].answering == 0)

    assert used()[:2] == (1, 0)


def test_answers_show_the_limits_and_what_is_left_of_them(desk: FrontDesk, engine: FakeEngine) -> None:
    limited = replace(desk, limits=ProjectLimits(requests_per_minute=2, tokens_per_minute=6000))
    with relaying(limited, engine) as relay, relay.client() as client:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=20
        )
        _ask(client)
        with pytest.raises(openai.RateLimitError) as refused:
            _ask(client)

    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    assert raw.headers["x-ratelimit-reset-requests"] == "30s"
    assert 5900 < int(raw.headers["x-ratelimit-remaining-tokens"]) < 6000 - 20
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert refused.value.response.headers["retry-after"] == "30"
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_what_was_estimated_too_high_is_given_back_when_the_answer_ends(desk: FrontDesk, engine: FakeEngine) -> None:
    limited = replace(desk, limits=ProjectLimits(tokens_per_minute=10_000))
    with relaying(limited, engine) as relay, relay.client() as client:
        used = sum(_ask(client, max_tokens=9000).total_tokens for _ in range(3))
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=1
        )

    remaining = int(raw.headers["x-ratelimit-remaining-tokens"])
    assert 10_000 - used - 100 < remaining < 10_000 - used


def test_a_project_has_so_many_answers_under_way_and_others_are_not_kept_from_theirs(
    desk: FrontDesk, engine: FakeEngine, registry: CollectorRegistry
) -> None:
    limited = replace(desk, limits=ProjectLimits(max_concurrent_answers=1))
    with relaying(limited, engine) as relay, relay.client() as client, relay.client("key-of-theirs") as other:

        async def hold(is_held: bool) -> None:
            if is_held:
                engine.faults.hold = asyncio.Event()
            elif engine.faults.hold is not None:
                engine.faults.hold.set()

        relay.run(hold(True))
        stream = _stream(client)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as refused:
            _ask(client)
        theirs = _stream(other)
        assert next(iter(theirs)).choices
        relay.run(hold(False))
        list(stream)
        list(theirs)

    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "1"
    shown = _shown(desk, registry)
    assert 'tunesmith_rate_limit_refusals_total{base_model="tunesmith-demo",limit="concurrency"} 1.0' in shown


def test_metrics_have_series_of_base_models_and_of_no_tenant(
    desk: FrontDesk, engine: FakeEngine, registry: CollectorRegistry
) -> None:
    with relaying(desk, engine) as relay, relay.client() as client:
        usage = _ask(client, text=CANARY)
        list(_stream(client))
    shown = _shown(desk, registry)

    assert 'tunesmith_chat_requests_total{base_model="tunesmith-demo",status="2xx"} 2.0' in shown
    assert usage.completion_tokens > 0
    assert 'tunesmith_time_to_first_token_seconds_count{base_model="tunesmith-demo"} 1.0' in shown
    assert 'tunesmith_answer_duration_seconds_count{base_model="tunesmith-demo"} 2.0' in shown
    assert not [word for word in (CANARY, "mine", "key_1") if word in shown]


class _Receiver:
    """Takes traces as an OpenTelemetry collector does."""

    def __init__(self, status: int = 200) -> None:
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                is_packed = self.headers.get("content-encoding") == "gzip"
                receiver.bodies.append(gzip.decompress(body) if is_packed else body)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "_Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_request_is_a_span_of_the_clients_trace_with_numbers_and_no_content(
    desk: FrontDesk, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracing = OtlpTracing()
        with relaying(replace(desk, tracing=tracing), engine) as relay, relay.client() as client:
            usage = next(chunk.usage for chunk in list(_stream(client)) if chunk.usage)
        tracing.close()

    spans = [
        span
        for body in receiver.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    chat, to_first_byte = sorted(spans, key=lambda span: span.name)
    attributes = {item.key: item.value.string_value or item.value.int_value for item in chat.attributes}
    assert chat.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert chat.parent_span_id.hex() == "b7ad6b7169203331"
    assert to_first_byte.parent_span_id == chat.span_id
    assert attributes["gen_ai.request.model"] == MODEL
    assert attributes["gen_ai.usage.input_tokens"] == usage.prompt_tokens
    assert attributes["gen_ai.usage.output_tokens"] == usage.completion_tokens
    assert CANARY.encode() not in b"".join(receiver.bodies)


def test_a_receiver_of_traces_that_fails_holds_no_answer_up(
    desk: FrontDesk, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with _Receiver(status=400) as receiver, caplog.at_level(logging.ERROR):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracing = OtlpTracing()
        with relaying(replace(desk, tracing=tracing), engine) as relay, relay.client() as client:
            assert _ask(client, text=CANARY).completion_tokens > 0
        tracing.close()

    assert receiver.bodies
    assert "Failed to export" in caplog.text
    assert CANARY not in caplog.text


def test_nothing_of_what_was_said_is_written_anywhere(
    desk: FrontDesk, engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), relaying(desk, engine) as relay, relay.client() as client:
        said = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": CANARY}])
        list(_stream(client))
    answered = said.choices[0].message.content

    assert answered
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("tunesmith"))
    assert not [words for words in (CANARY, answered) if words.encode() in written or words in ours]
