"""Count, mean, spread and highest of numbers that are not kept; and when two such means differ beyond chance."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

_SURE = 4.0  # standard errors: many stretches are compared in the course of a run, none may differ by chance
_MEDIAN_OF_ONE = 0.455  # of a squared normal number, whose mean is 1
SURE_OF_THE_LOWEST = 5.5  # where one of them was chosen for being the lowest


@dataclass
class Tally:
    n: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared differences from the mean
    highest: float = -1e30

    def add(self, value: float) -> None:
        """Welford's step."""
        self.n += 1
        difference = value - self.mean
        self.mean += difference / self.n
        self.squares += difference * (value - self.mean)
        self.highest = max(self.highest, value)

    def dump(self) -> list[float]:
        """Its fields by position."""
        return [self.n, self.mean, self.squares, self.highest]


def pooled(tallies: Iterable[Tally]) -> Tally:
    """One tally of all the numbers (Chan, Golub and LeVeque's step)."""
    whole = Tally()
    for part in tallies:
        n = whole.n + part.n
        if part.n == 0:
            continue
        difference = part.mean - whole.mean
        whole.squares += part.squares + difference**2 * whole.n * part.n / n
        whole.mean += difference * part.n / n
        whole.highest = max(whole.highest, part.highest)
        whole.n = n
    return whole


def relative_noise(tallies: Sequence[Tally]) -> float:
    """The standard deviation of one number, as a share of the mean: the median over the tallies, which a few wild ones
    do not move.

    Within the tallies, or between neighbours if they hold hardly more than one each; 0 if there is nothing to tell
    it from.
    """
    counted = [tally for tally in tallies if tally.n and tally.mean > 0]
    inside = [_variance(tally) for tally in counted if tally.n > 1]
    if 2 * len(inside) >= len(counted) > 0:
        return math.sqrt(median(inside))
    steps = ((after.mean - before.mean) / (after.mean + before.mean) for before, after in pairwise(counted))
    return math.sqrt(median(2 * step**2 / _MEDIAN_OF_ONE for step in steps)) if len(counted) > 1 else 0.0


def _variance(tally: Tally) -> float:
    """As a share of the squared mean, raised by as much as the median of a sample's variance is below its mean."""
    freedom = tally.n - 1
    return tally.squares / freedom / tally.mean**2 / (1 - 2 / (9 * freedom)) ** 3


def is_clearly_above(
    high: Tally, low: Tally, *, times: float, plus: float, noise: float, errors: float = _SURE
) -> bool:
    """Whether `high` is more than `low` times and plus these, and the difference cannot be chance.

    `noise` is the standard deviation of a single number, as a share of it: of a handful of numbers, their own spread
    says too little.
    """
    if high.n == 0 or low.n == 0 or high.mean <= low.mean * times + plus:
        return False
    error = noise * (high.mean + low.mean) / 2 * math.sqrt(1 / high.n + 1 / low.n)
    return high.mean - low.mean > errors * error
