"""One chat request from its admission to its end: its place at the gate, its tokens and what is said of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from server.chat.accounts import Caller, Header, Usage
from server.chat.request import ChatRequest
from server.errors import ApiError
from server.fair_queue.gate import Gate, TooManyAnswers
from server.metering.meter import MeteredAnswer
from server.observing.chat_metrics import BaseMetrics, ChatMetrics
from server.rate_limits.admission import RateLimitExceeded
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.limits import Limits, Overrides, effective_limits, estimate_tokens


class Span(Protocol):
    """A request in a trace."""

    def engine_asked(self) -> None: ...
    def first_byte(self) -> None: ...
    def end(self, status: str, numbers: Mapping[str, int]) -> None: ...


class Desk(Protocol):
    """Where it is dealt with."""

    @property
    def limits(self) -> Overrides: ...
    @property
    def limiter(self) -> RateLimiter: ...
    @property
    def metrics(self) -> ChatMetrics: ...
    @property
    def clock(self) -> Callable[[], float]: ...


class OpenAccount:
    """The relay's `Account`."""

    __slots__ = (
        "_began", "_desk", "_gate", "_metrics", "_project", "_so_far", "_status", "_usage",
        "bucket", "estimate", "headers", "is_charged", "limits", "metered", "span",
    )  # fmt: skip
    metered: MeteredAnswer

    def __init__(self, desk: Desk, caller: Caller, request: ChatRequest, base_model: str) -> None:
        fields = request.fields
        self._desk = desk
        self._began = desk.clock()
        self._project = caller.project_id
        self._metrics: BaseMetrics = desk.metrics.of(base_model)
        self._gate: Gate | None = None
        self._status: str | None = None
        self._usage: Usage | None = None
        self._so_far: Callable[[], Usage | None] | None = None
        self.limits: Limits = effective_limits(desk.limits, caller.limits)
        self.bucket = f"{caller.project_id} {base_model}"
        most = fields.get("max_completion_tokens") or fields.get("max_tokens")
        self.estimate = estimate_tokens(len(request.raw), most, fields.get("n", 1))
        self.headers: Sequence[Header] = ()
        self.is_charged = False
        self.span: Span | None = None

    async def enter(self, gate: Gate) -> None:
        """Wait for a place."""
        waited_s = await gate.enter(self._project, at_most=self.limits.concurrent_answers)
        self._gate = gate
        if waited_s:
            self._metrics.wait.observe(waited_s)
        if self.span is not None:
            self.span.engine_asked()

    def relayed(self, so_far: Callable[[], Usage | None]) -> None:
        self._metrics.first_token.observe(self._desk.clock() - self._began)
        self._so_far = self.metered.so_far = so_far
        if self.span is not None:
            self.span.first_byte()

    def finished(self, usage: Usage) -> None:
        self.metered.finish(usage)
        self._usage, self._status = usage, "2xx"

    def refused(self, status: int) -> None:
        if self._status is None:
            self._status = f"{status // 100}xx"
            self.metered.withdraw()

    def close(self) -> None:
        if self._status is None:
            self._usage = None if self._so_far is None else self._so_far()
            self._status = "cut"
            self.metered.cut()
        self._metrics.answer.observe(self._desk.clock() - self._began)
        self._end(self._status)

    def turn_away(self, error: BaseException) -> None:
        """It was not let in, or its client went while it waited."""
        if isinstance(error, RateLimitExceeded):
            self._metrics.count_refusal(error.kind)
        elif isinstance(error, TooManyAnswers):
            self._metrics.count_refusal("concurrency")
        self._end(f"{error.status // 100}xx" if isinstance(error, ApiError) else "cut")

    def _end(self, status: str) -> None:
        if self._gate is not None:
            self._gate.leave(self._project)
        usage = self._usage
        self._metrics.count(status, usage)
        if self.is_charged:
            self._desk.limiter.correct(self.bucket, self.limits, _total(usage) - self.estimate)
        if self.span is not None:
            self.span.end(status, _numbers(usage))


def _total(usage: Usage | None) -> int:
    return 0 if usage is None else usage.prompt_tokens + usage.completion_tokens


def _numbers(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
