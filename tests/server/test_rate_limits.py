from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rate_limits.admission import Asked, Header, RateLimitExceeded, admit
from server.rate_limits.bucket import PERIOD_S, Level
from server.rate_limits.durations import format_duration
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.limits import Limits, effective_limits, estimate_tokens
from server.rate_limits.shared_buckets import BucketsFull, SharedBuckets

NOW = 1000.0
EMPTY_AND_FULL = (0.0, 0.0)
ASKED = Asked("tunesmith-demo", "org-1", tokens=100)


@dataclass(frozen=True)
class Overrides:
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent_answers: int | None = None


def _read(headers: Sequence[Header]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[SharedBuckets]:
    buckets = SharedBuckets(tmp_path / "rate_limits")
    yield buckets
    buckets.close()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.0001, "1ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3661.5, "1h1m1.5s"),
    ],
)
def test_durations_are_spelled_as_openai_does(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("settings", "project", "expected"),
    [
        (Overrides(), Overrides(), Limits()),
        (Overrides(3, 4, 5), Overrides(), Limits(3, 4, 5)),
        (Overrides(3, 4, 5), Overrides(7, 8, 9), Limits(7, 8, 9)),
        (Overrides(3, 4, 5), Overrides(0, 0, 0), Limits()),
    ],
    ids=["none", "of the settings", "of the project", "lifted for the project"],
)
def test_a_project_s_limits_stand_over_those_of_the_settings(
    settings: Overrides, project: Overrides, expected: Limits
) -> None:
    assert effective_limits(settings, project) == expected


@pytest.mark.parametrize(
    ("prompt_bytes", "max_tokens", "n", "expected"), [(400, 50, 1, 151), (400, 50, 3, 251), (0, None, 1, 17)]
)
def test_tokens_are_estimated_by_the_prompt_and_the_most_of_the_answer(
    prompt_bytes: int, max_tokens: int | None, n: int, expected: int
) -> None:
    assert estimate_tokens(prompt_bytes, max_tokens, n) == expected


def test_a_bucket_lets_a_minutes_worth_in_at_once_and_then_one_by_one() -> None:
    full_at, waits = EMPTY_AND_FULL, []
    for _ in range(3):
        full_at = admit(NOW, Limits(requests_per_minute=3), full_at, ASKED).full_at
    for later in (0.0, 19.9, 20.0):
        try:
            admit(NOW + later, Limits(requests_per_minute=3), full_at, ASKED)
        except RateLimitExceeded as refusal:
            waits.append(refusal.headers()["retry-after-ms"])

    assert waits == ["20000", "100"]


def test_a_refusal_is_in_openais_words() -> None:
    full_at = admit(NOW, Limits(requests_per_minute=1), EMPTY_AND_FULL, ASKED).full_at
    with pytest.raises(RateLimitExceeded) as refused:
        admit(NOW, Limits(requests_per_minute=1, tokens_per_minute=1000), full_at, ASKED)

    assert refused.value.body() == {
        "error": {
            "message": "Rate limit reached for tunesmith-demo in organization org-1 on requests per min (RPM): "
            "Limit 1, Used 1, Requested 1. Please try again in 1m0s.",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
    assert refused.value.headers() == {
        "retry-after": "60",
        "retry-after-ms": "60000",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "1000",
        "x-ratelimit-reset-tokens": "0ms",
    }


def test_a_request_that_can_never_be_let_in_is_not_to_be_sent_again() -> None:
    with pytest.raises(RateLimitExceeded, match="Request too large for tunesmith-demo") as refused:
        admit(NOW, Limits(tokens_per_minute=99), EMPTY_AND_FULL, ASKED)

    assert refused.value.body()["error"]["type"] == "tokens"
    assert refused.value.headers()["x-should-retry"] == "false"
    assert "retry-after" not in refused.value.headers()


def test_an_answer_says_what_is_left() -> None:
    taken = admit(NOW, Limits(requests_per_minute=60, tokens_per_minute=6000), EMPTY_AND_FULL, ASKED)

    assert _read(taken.headers) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }


@given(st.integers(1, 500), st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60), st.floats(1, 1e6))
def test_no_minute_lets_in_more_than_twice_its_limit_and_the_long_run_not_more_than_once(
    per_minute: int, asked: list[tuple[float, int]], now: float
) -> None:
    began, level, taken = now, Level(per_minute, 0.0), 0
    for pause, cost in asked:
        now += pause
        if level.can_ever(cost) and level.wait_s(now, cost) == 0:
            level = level.after(now, cost)
            taken += cost

    assert taken <= per_minute * (1 + (now - began) / PERIOD_S) + 1e-3


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1e6), st.floats(0, 90))
def test_after_the_wait_that_is_named_the_request_is_let_in(
    per_minute: int, cost: int, now: float, taken_s: float
) -> None:
    level = Level(per_minute, now + min(taken_s, PERIOD_S))
    if level.can_ever(cost):
        assert level.wait_s(now + level.wait_s(now, cost) + 1e-6, cost) == 0


@given(st.integers(1, 500), st.integers(0, 500), st.floats(0, 1e6))
def test_what_was_estimated_too_high_is_given_back(per_minute: int, cost: int, now: float) -> None:
    level = Level(per_minute, now)

    assert level.after(now, cost).after(now, -cost).remaining(now) == per_minute


def test_a_correction_can_take_more_than_there_was(buckets: SharedBuckets) -> None:
    limiter = RateLimiter(buckets, clock=lambda: NOW)
    limits = Limits(tokens_per_minute=1000)
    limiter.admit("p", limits, ASKED)
    limiter.correct("p", limits, 2000)

    with pytest.raises(RateLimitExceeded) as refused:
        limiter.admit("p", limits, ASKED)

    assert refused.value.headers()["x-ratelimit-remaining-tokens"] == "0"
    assert refused.value.headers()["x-ratelimit-reset-tokens"] == "2m6s"


def test_a_refused_request_takes_nothing_from_either_bucket(buckets: SharedBuckets) -> None:
    limiter = RateLimiter(buckets, clock=lambda: NOW)
    limits = Limits(requests_per_minute=10, tokens_per_minute=50)
    for _ in range(20):
        with pytest.raises(RateLimitExceeded):
            limiter.admit("p", limits, ASKED)

    assert _read(limiter.admit("p", limits, Asked("m", "o", 1)))["x-ratelimit-remaining-requests"] == "9"


def test_without_limits_nothing_is_kept_and_nothing_said(buckets: SharedBuckets) -> None:
    limiter = RateLimiter(buckets, clock=lambda: NOW)

    assert limiter.admit("p", Limits(), ASKED) == ()


def test_projects_and_bases_have_buckets_of_their_own(buckets: SharedBuckets) -> None:
    limiter = RateLimiter(buckets, clock=lambda: NOW)
    limits = Limits(requests_per_minute=1)

    assert [_read(limiter.admit(key, limits, ASKED))["x-ratelimit-remaining-requests"] for key in "abc"] == ["0"] * 3


def test_two_processes_share_one_limit(tmp_path: Path) -> None:
    limits = Limits(requests_per_minute=100)

    def ask(limiter: RateLimiter) -> int:
        let_in = 0
        for _ in range(200):
            try:
                limiter.admit("p", limits, ASKED)
            except RateLimitExceeded:
                continue
            let_in += 1
        return let_in

    opened = [SharedBuckets(tmp_path / "rate_limits") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        let_in = list(pool.map(ask, [RateLimiter(buckets, clock=lambda: NOW) for buckets in opened]))
    for buckets in opened:
        buckets.close()

    assert sum(let_in) == 100


def test_what_was_taken_before_the_machine_was_started_anew_counts_no_more(tmp_path: Path) -> None:
    path = tmp_path / "rate_limits"
    limits = Limits(requests_per_minute=1)
    before = SharedBuckets(path)
    RateLimiter(before, clock=lambda: 1e9).admit("p", limits, ASKED)
    before.close()
    with path.open("r+b") as file:
        file.write(b"the id of another boot")
    after = SharedBuckets(path)

    assert (
        _read(RateLimiter(after, clock=lambda: 1.0).admit("p", limits, ASKED))["x-ratelimit-remaining-requests"] == "0"
    )
    after.close()


def test_more_keys_than_places_are_refused_and_not_mixed_up(tmp_path: Path) -> None:
    buckets = SharedBuckets(tmp_path / "rate_limits", n_places=4)
    limiter = RateLimiter(buckets, clock=lambda: NOW)
    limits = Limits(requests_per_minute=1)
    for key in "abcd":
        limiter.admit(key, limits, ASKED)

    with pytest.raises(BucketsFull):
        limiter.admit("e", limits, ASKED)
    buckets.close()
