"""Loss not falling: half of the run is done, and the training loss is where it began."""

import math

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.diagnoses.stretches import accuracy_of, loss_of

_MIN_STEPS, _MIN_EPOCHS = 20, 3
_FALL, _EPOCHS_APART = 0.01, 0.02  # less than this share of the loss is no fall
_SURELY_NO_FALL = 0.03  # what it could still be by chance, in either direction
_GOOD_LOSS, _GOOD_ACCURACY = 0.1, 0.95  # there is not much left to fall


def find(course: Course) -> Finding | None:
    if course.progress < 0.5 or course.step < _MIN_STEPS:
        return None
    recent = course.recent(0.25)
    start, now = loss_of(course.beginning(0.05, at_least_steps=5)), loss_of(recent)  # the fall may be over soon after
    accuracy = accuracy_of(recent)
    if start.mean <= _GOOD_LOSS or accuracy >= _GOOD_ACCURACY:
        return None
    fall = (start.mean - now.mean) / start.mean
    error = course.noise * math.sqrt(1 / start.n + 1 / now.n)
    is_surely_flat = fall < _FALL and abs(fall) + 2 * error < _SURELY_NO_FALL
    if not is_surely_flat and not (_are_epochs_alike(course) and abs(fall) + error < _SURELY_NO_FALL):
        return None
    return Finding(
        Diagnosis.LOSS_NOT_FALLING,
        f"The loss is not falling: {start.mean:.2f} at the start and {now.mean:.2f} at step {course.step} of "
        f"{course.facts.total_steps}. Either the learning rate is too low, or there is nothing in the data to learn: "
        "raise learning_rate_multiplier three times; if the loss stays, look for answers that do not follow from "
        "their prompts, contradict each other or are mixed up, at the lines that warnings name first.",
        {"step": course.step, "loss_at_start": start.mean, "loss": now.mean, "accuracy": accuracy},
    )


def _are_epochs_alike(course: Course) -> bool:
    """Several passes over the same examples that came to the same, however much the examples differ."""
    losses = [epoch.loss.mean for epoch in course.complete_epochs]
    return len(losses) >= _MIN_EPOCHS and max(losses) - min(losses) < _EPOCHS_APART * losses[0]
