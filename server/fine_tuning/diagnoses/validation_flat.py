"""Validation flat: the training loss comes down, and the validation file notices nothing of it."""

import math

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.diagnoses.stretches import loss_of
from server.fine_tuning.diagnoses.tally import pooled, relative_noise

_MIN_STEPS = 20
_FALL = 0.3  # of the training loss, at least
_FLAT = 0.9  # the validation loss keeps at least this share of what it was
_GAP = 1.3  # times the training loss
_MIN_EVALUATIONS = 3


def find(course: Course) -> Finding | None:
    if course.progress < 0.75 or course.step < _MIN_STEPS:
        return None
    validation = _first_lowest_and_last(course)
    early, now = loss_of(course.between(0, 0.25)).mean, loss_of(course.recent(0.1)).mean
    if validation is None or now > (1 - _FALL) * early:
        return None
    first, lowest, last = validation
    error = relative_noise([part.valid_loss for part in course.slices]) / math.sqrt(_MIN_EVALUATIONS)
    # Where the two files are alike, the loss began at the same height in both. What has come down from there learnt
    # before it was measured, and is flat for that.
    start = loss_of(course.beginning(0.01))
    at_start = start.mean * (1 + course.noise / math.sqrt(start.n))
    if lowest < _FLAT * max(first * (1 + 2 * error), at_start) or last < _GAP * now:
        return None
    return Finding(
        Diagnosis.VALIDATION_FLAT,
        f"The training loss has come down from {early:.2f} to {now:.2f}, and the validation loss has not: {first:.2f} "
        f"at first, {last:.2f} at step {course.step}. What is learnt does not help there. Most often the validation "
        "file is of another kind or form than the training file, or the answers of one of them are mislabelled: "
        "compare ten lines of each by eye. If both are sound, the examples are too few or too alike.",
        {
            "step": course.step,
            "first_loss": early,
            "loss": now,
            "first_valid_loss": first,
            "valid_loss": last,
        },
    )


def _first_lowest_and_last(course: Course) -> tuple[float, float, float] | None:
    """The validation loss in the first quarter, at its lowest, and now; on the whole file where that was measured."""
    quarters = [course.between(start, start + 0.25) for start in (0.0, 0.25, 0.5, 0.75)]
    parts = [pooled(part.valid_loss for part in quarter) for quarter in quarters]
    measured = [tally.mean for tally in parts if tally.n >= _MIN_EVALUATIONS]
    whole = [epoch.valid_loss for epoch in course.epochs if epoch.valid_loss is not None]
    later = measured[1:] + whole
    if parts[0].n < _MIN_EVALUATIONS or not later:
        return None
    return measured[0], min(later), later[-1]
