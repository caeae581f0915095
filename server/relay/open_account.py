"""One chat request from its admission to its end: its place at the gate, its tokens and what is said of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.auth.caller import ProjectLimits
from server.errors import ApiError
from server.fair_queue.gate import Entered, TooManyAnswers
from server.metering.meter import MeteredAnswer
from server.observing.chat_metrics import BaseMetrics
from server.rate_limits.admission import RateLimitExceeded
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.limits import Limits, estimate_tokens
from server.relay.accounts import Header, Usage
from server.relay.relayed_request import RelayedRequest
from server.relay.token_prompts import count_prompts


class Place(Protocol):
    """Where requests wait, as far as an account goes: it ends there."""

    def leave(self, project: str, places: int) -> None: ...


class Span(Protocol):
    """A request in a trace."""

    def engine_asked(self) -> None: ...
    def first_byte(self) -> None: ...
    def end(self, status: str, numbers: Mapping[str, int]) -> None: ...


@dataclass(frozen=True)
class Terms:
    """What holds for a project's requests to a base model."""

    own: ProjectLimits  # of the project; the rest follows from them and the settings
    project_id: str
    limits: Limits
    bucket: str
    gate: Place
    metrics: BaseMetrics
    limiter: RateLimiter
    clock: Callable[[], float]


class OpenAccount:
    """The relay's `Account`."""

    __slots__ = (
        "_began", "_places", "_so_far", "_status", "_usage", "estimate", "headers", "is_charged", "metered",
        "n_answers", "span", "terms",
    )  # fmt: skip
    metered: MeteredAnswer

    def __init__(self, terms: Terms, request: RelayedRequest) -> None:
        fields = request.fields
        self.terms = terms
        self._began = terms.clock()
        self._places = 0
        self._status: str | None = None
        self._usage: Usage | None = None
        self._so_far: Callable[[], Usage | None] | None = None
        most = fields.get("max_completion_tokens") or fields.get("max_tokens")
        if "input" in fields:
            most = 0  # embeddings: nothing is generated
        self.n_answers = count_answers(fields)
        self.estimate = estimate_tokens(len(request.raw), most, self.n_answers)
        self.headers: Sequence[Header] = ()
        self.is_charged = False
        self.span: Span | None = None

    def entered(self, entered: Entered) -> None:
        """It has its places at the gate."""
        self._places = entered.places
        if entered.waited_s:
            self.terms.metrics.wait.observe(entered.waited_s)
        if self.span is not None:
            self.span.engine_asked()

    def relayed(self, so_far: Callable[[], Usage | None]) -> None:
        self.terms.metrics.first_token.observe(self.terms.clock() - self._began)
        self._so_far = self.metered.so_far = so_far
        if self.span is not None:
            self.span.first_byte()

    def finished(self, usage: Usage, send: Callable[[], None]) -> None:
        self.metered.finish(usage, send)
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
        self.terms.metrics.answer.observe(self.terms.clock() - self._began)
        self._end(self._status)

    def turn_away(self, error: BaseException) -> None:
        """It was not let in, or its client went while it waited."""
        if isinstance(error, RateLimitExceeded):
            self.terms.metrics.count_refusal(error.kind)
        elif isinstance(error, TooManyAnswers):
            self.terms.metrics.count_refusal("concurrency")
        self._end(f"{error.status // 100}xx" if isinstance(error, ApiError) else "cut")

    def _end(self, status: str) -> None:
        terms, usage = self.terms, self._usage
        if self._places:
            terms.gate.leave(terms.project_id, self._places)
        terms.metrics.count(status, usage)
        if self.is_charged:
            terms.limiter.correct(terms.bucket, terms.limits, _total(usage) - self.estimate)
        if self.span is not None:
            self.span.end(status, _numbers(usage))


def count_answers(fields: Mapping[str, Any]) -> int:
    """Count what a request has the engine work on at once: choices, of each prompt, or texts."""
    n: int = fields.get("n", 1)
    return n * count_prompts(fields.get("prompt") or fields.get("input"))


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
