"""What is counted of chat requests for Prometheus; by base model alone, so that the series do not grow with tenants.

With `PROMETHEUS_MULTIPROC_DIR` set, as `serve` does, all API processes of a home write into files there, and each can
show the sums.
"""

from dataclasses import dataclass
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_WAIT_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60)
_BASE = ("base_model",)


class ChatMetrics:
    """The instruments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tunesmith_chat_requests",
            "Chat requests that named a model there is, by what came of them.",
            ("base_model", "status"),  # 2xx, 4xx, 5xx, cut: broken off after it had begun, or nobody listened
            registry=registry,
        )
        self._prompt = Counter("tunesmith_prompt_tokens", "Tokens of prompts.", _BASE, registry=registry)
        self._cached = Counter("tunesmith_cached_tokens", "Of them, found in the cache.", _BASE, registry=registry)
        self._completion = Counter("tunesmith_completion_tokens", "Tokens of answers.", _BASE, registry=registry)
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
            "tunesmith_queue_wait_seconds", "Wait for a place.", _BASE, buckets=_WAIT_S, registry=registry
        )
        self._refusals = Counter(
            "tunesmith_rate_limit_refusals",
            "Requests refused for a limit of their project.",
            ("base_model", "limit"),  # requests, tokens, concurrency
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
            found = self._of_base[base_model] = BaseMetrics(
                requests={status: self._requests.labels(base_model, status) for status in ("2xx", "4xx", "5xx", "cut")},
                prompt_tokens=self._prompt.labels(base_model),
                cached_tokens=self._cached.labels(base_model),
                completion_tokens=self._completion.labels(base_model),
                first_token=self._first_token.labels(base_model),
                answer=self._answer.labels(base_model),
                wait=self._wait.labels(base_model),
                refusals={
                    limit: self._refusals.labels(base_model, limit) for limit in ("requests", "tokens", "concurrency")
                },
                under_way=self._under_way.labels(base_model),
                waiting=self._waiting.labels(base_model),
            )
        return found


@dataclass(frozen=True)
class BaseMetrics:
    requests: dict[str, Counter]
    prompt_tokens: Counter
    cached_tokens: Counter
    completion_tokens: Counter
    first_token: Histogram
    answer: Histogram
    wait: Histogram
    refusals: dict[str, Counter]
    under_way: Gauge
    waiting: Gauge


@cache
def shared_chat_metrics() -> ChatMetrics:
    """The one set of this process."""
    return ChatMetrics(REGISTRY)
