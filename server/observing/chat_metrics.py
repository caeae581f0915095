"""What is counted of chat requests for Prometheus; by base model alone, so that the series do not grow with tenants.

With `PROMETHEUS_MULTIPROC_DIR` set, as `serve` does, all API processes of a home write into files there, and each can
show the sums.
"""

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_WAIT_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60)
_BASE = ("base_model",)
_STATUSES = ("2xx", "4xx", "5xx", "cut")  # cut: broken off after it had begun, or nobody listened any more
_LIMITS = ("requests", "tokens", "concurrency")
_TOKENS = {
    "prompt": "Tokens of prompts.",
    "cached": "Of the tokens of prompts, those found in the cache.",
    "completion": "Tokens of answers.",
}


class Tokens(Protocol):
    """What an answer came to."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...


class ChatMetrics:
    """The instruments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tunesmith_chat_requests",
            "Chat requests that named a model there is, by what came of them.",
            ("base_model", "status"),
            registry=registry,
        )
        self._tokens = {
            kind: Counter(f"tunesmith_{kind}_tokens", described, _BASE, registry=registry)
            for kind, described in _TOKENS.items()
        }
        self._first_token = Histogram(
            "tunesmith_time_to_first_token_seconds",
            "From a streamed request to the first bytes of its answer, the wait for a place included.",
            _BASE,
            buckets=_FIRST_TOKEN_S,
            registry=registry,
        )
        self._answer = Histogram(
            "tunesmith_answer_duration_seconds",
            "From a request to the end of its answer.",
            _BASE,
            buckets=_ANSWER_S,
            registry=registry,
        )
        self._wait = Histogram(
            "tunesmith_queue_wait_seconds",
            "Of those that had to wait for a place.",
            _BASE,
            buckets=_WAIT_S,
            registry=registry,
        )
        self._refusals = Counter(
            "tunesmith_rate_limit_refusals",
            "Requests refused for a limit of their project.",
            ("base_model", "limit"),
            registry=registry,
        )
        gauge = {"labelnames": _BASE, "registry": registry, "multiprocess_mode": "livesum"}
        self._under_way = Gauge("tunesmith_answers_under_way", "Answers that have a place now.", **gauge)  # type: ignore[arg-type]
        self._waiting = Gauge("tunesmith_queue_length", "Requests that wait for a place now.", **gauge)  # type: ignore[arg-type]
        self._of_base: dict[str, BaseMetrics] = {}

    def of(self, base_model: str) -> "BaseMetrics":
        """The instruments of one base model. Their labels are looked up once, which is most of their cost."""
        found = self._of_base.get(base_model)
        if found is None:
            counters = {status: self._requests.labels(base_model, status) for status in _STATUSES}
            counters |= {limit: self._refusals.labels(base_model, limit) for limit in _LIMITS}
            counters |= {kind: counter.labels(base_model) for kind, counter in self._tokens.items()}
            found = self._of_base[base_model] = BaseMetrics(
                counters,
                first_token=self._first_token.labels(base_model),
                answer=self._answer.labels(base_model),
                wait=self._wait.labels(base_model),
                under_way=self._under_way.labels(base_model),
                waiting=self._waiting.labels(base_model),
            )
        return found


class BaseMetrics:
    """The instruments of one base model. Counts are kept here until `show`: an instrument costs ten times as much."""

    def __init__(
        self,
        counters: Mapping[str, Counter],
        *,
        first_token: Histogram,
        answer: Histogram,
        wait: Histogram,
        under_way: Gauge,
        waiting: Gauge,
    ) -> None:
        self._counters = counters
        self._counted = dict.fromkeys(counters, 0)
        self.first_token = first_token
        self.answer = answer
        self.wait = wait
        self._under_way = under_way
        self._waiting = waiting

    def count(self, status: str, tokens: Tokens | None) -> None:
        """A request has ended. `status`: 2xx, 4xx, 5xx or cut."""
        counted = self._counted
        counted[status] += 1
        if tokens is not None:
            counted["prompt"] += tokens.prompt_tokens
            counted["cached"] += tokens.cached_tokens
            counted["completion"] += tokens.completion_tokens

    def count_refusal(self, limit: str) -> None:
        """`limit`: requests, tokens or concurrency."""
        self._counted[limit] += 1

    def show(self, *, under_way: int, waiting: int) -> None:
        """Give Prometheus what was counted since the last time, and how it stands now."""
        for name, n in self._counted.items():
            if n:
                self._counters[name].inc(n)
                self._counted[name] = 0
        self._under_way.set(under_way)
        self._waiting.set(waiting)


@cache
def shared_chat_metrics() -> ChatMetrics:
    """The one set of this process."""
    return ChatMetrics(REGISTRY)
