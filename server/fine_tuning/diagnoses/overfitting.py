"""Overfitting: the validation loss rises from its best while the training loss goes on falling."""

from server.fine_tuning.diagnoses.course import Course, Epoch
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.diagnoses.stretches import loss_of
from server.fine_tuning.diagnoses.tally import SURE_OF_THE_LOWEST, is_clearly_above, pooled, relative_noise

_RISE, _RISE_NATS = 0.10, 0.05  # of the validation loss over its best
_LARGE_RISE = 0.30  # needs no second epoch to be believed; on few examples, it takes this much
_FEW_EXAMPLES = 20
_MIN_EVALUATIONS = 3  # in a quarter of the run


def find(course: Course) -> Finding | None:
    return _by_epochs(course) or (_by_parts(course) if course.is_over else None)


def _by_epochs(course: Course) -> Finding | None:
    """On the whole validation file: the same examples each time, so that even a small rise is one."""
    measured = [(number, epoch) for number, epoch in enumerate(course.epochs, 1) if epoch.valid_loss is not None]
    if len(measured) < 2:
        return None
    best_number, best = min(measured, key=lambda pair: pair[1].valid_loss or 0.0)
    last_number, last = measured[-1]
    least = _LARGE_RISE if course.facts.n_validation < _FEW_EXAMPLES else _RISE
    if not _has_risen(best, last, least) or last.loss.mean > best.loss.mean:
        return None
    # With the learning rate still high, one epoch may be worse than the one before and the next one better than both.
    is_believed = course.is_over or _has_risen(best, last, _LARGE_RISE) or _has_risen(best, measured[-2][1], least)
    if not is_believed:
        return None
    return _finding(
        f"the validation loss was {best.valid_loss:.2f} after epoch {best_number} and is {last.valid_loss:.2f} after "
        f"epoch {last_number}, while the training loss went from {best.loss.mean:.2f} to {last.loss.mean:.2f}",
        f"The model of epoch {best_number} is the better one, if its checkpoint is kept; next time, train "
        f"{best_number} epoch{'s' if best_number > 1 else ''}",
        {
            "epoch": last_number,
            "best_epoch": best_number,
            "best_valid_loss": best.valid_loss or 0.0,
            "valid_loss": last.valid_loss or 0.0,
            "loss_at_best": best.loss.mean,
            "loss": last.loss.mean,
        },
    )


def _has_risen(best: Epoch, later: Epoch, least: float) -> bool:
    if best.valid_loss is None or later.valid_loss is None:
        return False
    return later.valid_loss > best.valid_loss * (1 + least) and later.valid_loss > best.valid_loss + _RISE_NATS


def _by_parts(course: Course) -> Finding | None:
    """On the parts of the file that are measured in between, for runs of an epoch or two."""
    quarters = [course.between(start, start + 0.25) for start in (0.0, 0.25, 0.5, 0.75)]
    validation = [pooled(part.valid_loss for part in quarter) for quarter in quarters]
    if min(tally.n for tally in validation) < _MIN_EVALUATIONS:
        return None
    index = min(range(4), key=lambda position: validation[position].mean)
    best, last = validation[index], validation[-1]
    training = [loss_of(quarter).mean for quarter in quarters]
    noise = relative_noise([part.valid_loss for part in course.slices])
    has_risen = is_clearly_above(last, best, times=1 + _RISE, plus=_RISE_NATS, noise=noise, errors=SURE_OF_THE_LOWEST)
    if not has_risen or training[-1] > training[index]:
        return None
    return _finding(
        f"in the last quarter of the run the validation loss is {last.mean:.2f} after {best.mean:.2f} in quarter "
        f"{index + 1}, while the training loss went from {training[index]:.2f} to {training[-1]:.2f}",
        "Next time, stop earlier",
        {
            "best_valid_loss": best.mean,
            "valid_loss": last.mean,
            "loss_at_best": training[index],
            "loss": training[-1],
        },
    )


def _finding(what: str, first: str, evidence: dict[str, float | int]) -> Finding:
    return Finding(
        Diagnosis.OVERFITTING,
        f"Overfitting: {what}. From here on the examples are learnt by heart. {first}, or give it more and more varied "
        "examples; a lower learning_rate_multiplier puts it off, but does not cure it.",
        evidence,
    )
