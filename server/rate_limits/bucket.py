"""A rate limit as one number (pure): GCRA, the time at which the bucket will be full again. Seconds of one clock."""

from typing import NamedTuple

PERIOD_S = 60.0


class Level(NamedTuple):
    """What a bucket of `per_minute` holds, which a minute fills: that much can be had at once."""

    per_minute: int
    full_at: float  # in the past: it is full

    def remaining(self, now: float) -> int:
        """What can still be had; 0 if more was taken than there was, which a correction may do."""
        return max(0, int((PERIOD_S - self.reset_s(now)) * self.per_minute / PERIOD_S + 1e-6))

    def reset_s(self, now: float) -> float:
        """How long until it is full."""
        return max(0.0, self.full_at - now)

    def wait_s(self, now: float, cost: int) -> float:
        """How long until `cost` can be had; 0: now. More than a whole minute's never can: see `can_ever`."""
        return max(0.0, self.reset_s(now) + cost * PERIOD_S / self.per_minute - PERIOD_S - 1e-9)

    def can_ever(self, cost: int) -> bool:
        return cost <= self.per_minute

    def after(self, now: float, cost: int) -> "Level":
        """With `cost` taken out; a negative one gives back."""
        return Level(self.per_minute, max(self.full_at, now) + cost * PERIOD_S / self.per_minute)
