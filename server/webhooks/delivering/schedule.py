"""When an event is tried again (pure)."""

from dataclasses import dataclass

GIVE_UP_AFTER_S = 3 * 24 * 3600.0

_MINUTE, _HOUR = 60.0, 3600.0
# Quick at first, for a receiver that is being restarted; the last one is repeated.
_DELAYS_S = (5.0, 30.0, 2 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 12 * _HOUR)
_JITTER = 0.2  # of a delay, more or less: what failed together does not come back together


@dataclass(frozen=True)
class Standing:
    created_at: float  # of the event, unix seconds
    n_tries: int  # that have failed, from 1


def next_try_at(standing: Standing, *, now: float, chance: float) -> float | None:
    """When the next one begins; None: it is given up. `chance` is from 0 to 1."""
    delay = _DELAYS_S[min(standing.n_tries, len(_DELAYS_S)) - 1]
    due_at = now + delay * (1 - _JITTER + 2 * _JITTER * chance)
    return due_at if due_at <= standing.created_at + GIVE_UP_AFTER_S else None
