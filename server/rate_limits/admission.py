"""Whether a request is let in, what that takes from its buckets, and what its answer's headers say (pure)."""

from typing import ClassVar, Literal, NamedTuple

from server.errors import ApiError
from server.rate_limits.bucket import Level
from server.rate_limits.durations import format_duration
from server.rate_limits.limits import Limits
from server.vocabulary import ErrorType

Kind = Literal["requests", "tokens"]
Header = tuple[bytes, bytes]
_SHOWN = (b"limit", b"remaining", b"reset")
_WORDS: dict[Kind, str] = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}
_NAMES = {kind: tuple(b"x-ratelimit-%b-%b" % (what, kind.encode()) for what in _SHOWN) for kind in _WORDS}
_TYPES = {"requests": ErrorType.REQUESTS, "tokens": ErrorType.TOKENS}


class RateLimitExceeded(ApiError):
    """OpenAI: 429 with its code, under the type of the limit that was met."""

    status = 429
    type: ErrorType  # type: ignore[misc]  # of the limit; that of its parent is the class's
    explains: ClassVar[str] = "rate_limit_exceeded"

    def __init__(self, message: str, kind: Kind, *, wait_s: float | None, shown: list[Header]) -> None:
        super().__init__(message, code=self.explains)
        self.type = _TYPES[kind]
        self.kind = kind
        self._wait_s = wait_s
        self._shown = {name.decode(): value.decode() for name, value in shown}
        self.should_retry = None if wait_s is not None else False

    def headers(self) -> dict[str, str]:
        if self._wait_s is None:
            return {**super().headers(), **self._shown}
        milliseconds = max(1, round(self._wait_s * 1000 + 0.5))
        return {
            **super().headers(),
            **self._shown,
            "retry-after": str(-(-milliseconds // 1000)),
            "retry-after-ms": str(milliseconds),
        }


class Asked(NamedTuple):
    """One request, as limits see it."""

    model: str
    organization_id: str
    tokens: int  # estimated


class Taken(NamedTuple):
    """The buckets after a request was let in. A bucket without a limit is left as it was."""

    full_at: tuple[float, float]  # of requests, of tokens
    headers: list[Header]


def admit(now: float, limits: Limits, full_at: tuple[float, float], asked: Asked) -> Taken:
    """Let a request in, or say what is in its way; then nothing is taken from either bucket.

    Raises:
        RateLimitExceeded: with the time after which it would be let in, or none if it is too large ever to be.
    """
    levels: list[tuple[Kind, Level, int]] = []
    if limits.requests_per_minute:
        levels.append(("requests", Level(limits.requests_per_minute, full_at[0]), 1))
    if limits.tokens_per_minute:
        levels.append(("tokens", Level(limits.tokens_per_minute, full_at[1]), asked.tokens))
    for kind, level, cost in levels:
        if not level.can_ever(cost):
            raise RateLimitExceeded(_too_large(asked, level), kind, wait_s=None, shown=_headers(now, levels))
        wait_s = level.wait_s(now, cost)
        if wait_s > 0:
            message = _reached(now, asked, kind, level, cost)
            raise RateLimitExceeded(message, kind, wait_s=wait_s, shown=_headers(now, levels))
    taken = [(kind, level.after(now, cost), cost) for kind, level, cost in levels]
    after = {kind: level.full_at for kind, level, _ in taken}
    return Taken((after.get("requests", full_at[0]), after.get("tokens", full_at[1])), _headers(now, taken))


def _headers(now: float, levels: list[tuple[Kind, Level, int]]) -> list[Header]:
    shown: list[Header] = []
    for kind, level, _ in levels:
        limit, remaining, reset = _NAMES[kind]
        shown += (
            (limit, b"%d" % level.per_minute),
            (remaining, b"%d" % level.remaining(now)),
            (reset, format_duration(level.reset_s(now)).encode()),
        )
    return shown


def _reached(now: float, asked: Asked, kind: Kind, level: Level, cost: int) -> str:
    used = level.per_minute - level.remaining(now)
    return (
        f"Rate limit reached for {asked.model} in organization {asked.organization_id} on {_WORDS[kind]}: "
        f"Limit {level.per_minute}, Used {used}, Requested {cost}. "
        f"Please try again in {format_duration(level.wait_s(now, cost))}."
    )


def _too_large(asked: Asked, level: Level) -> str:
    return (
        f"Request too large for {asked.model} in organization {asked.organization_id} on {_WORDS['tokens']}: "
        f"Limit {level.per_minute}, Requested {asked.tokens}. "
        "The input or output tokens must be reduced in order to run successfully."
    )
