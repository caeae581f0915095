"""Too few steps: the run ended before the loss had come down, or while it was still on its way."""

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding, percent
from server.fine_tuning.diagnoses.stretches import accuracy_of, loss_of
from server.fine_tuning.diagnoses.tally import Tally, is_clearly_above, pooled

FEW_STEPS = 20
_LEARNT, _GOOD_ACCURACY = 0.5, 0.95  # of the loss at the start is left; of the tokens
_HARDLY_LEARNT = 0.7
_FALL = 0.1  # in the last fifth of the learning rate that was spent, of the loss
_SHARE = 0.15  # likewise, of all that the loss fell
_GOOD_LOSS = 0.1
_VALID_FALL, _VALID_SHARE = 0.1, 0.05  # in the last epoch: of the validation loss, and of all that was learnt


def find(course: Course) -> Finding | None:
    if not course.is_over:
        return None
    start, recent = loss_of(course.beginning(0.01)), course.recent(0.1, at_least_steps=3)
    now = loss_of(recent)
    accuracy = accuracy_of(recent)
    evidence: dict[str, float | int] = {"steps": course.step, "loss_at_start": start.mean, "loss": now.mean}
    if course.step < FEW_STEPS:
        if now.mean < _LEARNT * start.mean or accuracy >= _GOOD_ACCURACY:
            return None
        return _finding(
            f"the run had {course.step} steps, and the loss is {now.mean:.2f} after {start.mean:.2f} at the start; "
            f"less than {FEW_STEPS} rarely teach anything",
            evidence,
        )
    falls = _fall_by_validation(course, start) if course.facts.n_validation else _fall_by_training(course, start)
    if falls is None:
        return None
    before, after, what = falls
    return _finding(
        f"the {what} loss was still falling when the run ended, from {before:.2f} to {after:.2f} "
        f"({percent(1 - after / before)}) in its last part",
        {**evidence, "loss_before": before, "loss_after": after},
    )


def _fall_by_validation(course: Course, start: Tally) -> tuple[float, float, str] | None:
    losses = [epoch.valid_loss for epoch in course.epochs if epoch.valid_loss is not None]
    if len(losses) < 2 or losses[-1] < _GOOD_LOSS:
        return None
    best, last = min(losses[:-1]), losses[-1]
    if last > (1 - _VALID_FALL) * best or best - last < _VALID_SHARE * (start.mean - last):
        return None
    return best, last, "validation"


def _fall_by_training(course: Course, start: Tally) -> tuple[float, float, str] | None:
    """Over the learning rate that was spent: at the end of a cosine there is so little that any loss looks flat."""
    before, after = _last_fifths(course)
    is_steep = is_clearly_above(before, after, times=1 / (1 - _FALL), plus=0.05, noise=course.noise)
    if not is_steep or before.mean - after.mean < _SHARE * (start.mean - after.mean):
        return None
    # From the second epoch on, the training loss falls also by learning by heart.
    if course.facts.n_epochs > 1 and after.mean < _HARDLY_LEARNT * start.mean:
        return None
    return before.mean, after.mean, "training"


def _last_fifths(course: Course) -> tuple[Tally, Tally]:
    """The losses of the fourth and of the last fifth, by learning rate spent."""
    whole = sum(part.learning_rates for part in course.slices)
    spent, fourth, fifth = 0.0, [], []
    for part in course.slices:
        spent += part.learning_rates
        if spent > 0.8 * whole:
            fifth.append(part.loss)
        elif spent > 0.6 * whole:
            fourth.append(part.loss)
    return pooled(fourth), pooled(fifth)


def _finding(what: str, evidence: dict[str, float | int]) -> Finding:
    return Finding(
        Diagnosis.TOO_FEW_STEPS,
        f"Too few steps: {what}. Raise n_epochs, or lower batch_size so that an epoch has more steps. "
        "You can also train on from this model: name it as the model of the next job.",
        evidence,
    )
