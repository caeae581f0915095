"""Lets requests in by the limits of their projects, and puts the estimates right when answers end."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from server.rate_limits.admission import Asked, Header, admit
from server.rate_limits.bucket import Level
from server.rate_limits.limits import Limits
from server.rate_limits.shared_buckets import FullAt, SharedBuckets

NO_HEADERS: Sequence[Header] = ()


class RateLimiter:
    """A project has a bucket of requests and one of tokens for each base model, whatever the model is called."""

    def __init__(self, buckets: SharedBuckets, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = buckets
        self._clock = clock

    def admit(self, key: str, limits: Limits, asked: Asked) -> Sequence[Header]:
        """Let a request in; gives the headers of its answer. `key` names project and base.

        Raises: RateLimitExceeded, BucketsFull.
        """
        if not limits.has_rates:
            return NO_HEADERS
        return self._buckets.change(key, partial(_admit, self._clock(), limits, asked))

    def correct(self, key: str, limits: Limits, tokens: int) -> None:
        """Take more tokens, or give back some of what was estimated too high."""
        if limits.tokens_per_minute and tokens:
            self._buckets.change(key, partial(_correct, self._clock(), limits.tokens_per_minute, tokens))

    def close(self) -> None:
        self._buckets.close()


def _admit(now: float, limits: Limits, asked: Asked, full_at: FullAt) -> tuple[FullAt, Sequence[Header]]:
    return admit(now, limits, full_at, asked)


def _correct(now: float, per_minute: int, tokens: int, full_at: FullAt) -> tuple[FullAt, None]:
    return (full_at[0], Level(per_minute, full_at[1]).after(now, tokens).full_at), None
