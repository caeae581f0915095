"""What a stretch of neighbouring slices comes to."""

from collections.abc import Sequence

from server.fine_tuning.diagnoses.course import Course, Slice
from server.fine_tuning.diagnoses.tally import SURE_OF_THE_LOWEST, Tally, is_clearly_above, pooled


def loss_of(slices: Sequence[Slice]) -> Tally:
    return pooled(part.loss for part in slices)


def norm_of(slices: Sequence[Slice]) -> float:
    """The geometric mean of the gradients' norms."""
    n = sum(part.loss.n for part in slices)
    return float(10 ** (sum(part.log_norms for part in slices) / n)) if n else 1.0


def clipped_share(slices: Sequence[Slice]) -> float:
    n = sum(part.loss.n for part in slices)
    return sum(part.n_clipped for part in slices) / n if n else 0.0


def lowest_and_last(course: Course) -> tuple[Tally, Tally]:
    """The loss of the lowest and of the newest stretch of a tenth of the run; the same one if there is none before."""
    recent = course.recent(0.1, at_least_steps=10)
    length, earlier = len(recent), course.slices[: -len(recent)]
    stretches = [loss_of(earlier[start : start + length]) for start in range(0, len(earlier) - length + 1)]
    last = loss_of(recent)
    return min(stretches, key=lambda loss: loss.mean, default=last), last


def has_left(lowest: Tally, last: Tally, noise: float, *, times: float, plus: float) -> bool:
    """Whether the loss has risen from its lowest, and not by chance."""
    return is_clearly_above(last, lowest, times=times, plus=plus, noise=noise, errors=SURE_OF_THE_LOWEST)


def accuracy_of(slices: Sequence[Slice]) -> float:
    n = sum(part.loss.n for part in slices)
    return sum(part.accuracies for part in slices) / n if n else 0.0
