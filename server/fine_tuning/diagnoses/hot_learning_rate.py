"""Learning rate too hot: the loss rises over where it began, jumps early on, spikes, or gradients explode."""

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding, percent
from server.fine_tuning.diagnoses.stretches import clipped_share, has_left, loss_of, lowest_and_last, norm_of
from server.fine_tuning.diagnoses.tally import is_clearly_above

_MIN_STEPS = 10
_EARLY = 0.6  # of the run: later, the learning rate has come down too far to be the first suspect
_MIN_SPIKES = 5
_GROWTH = 4.0  # of gradient norms since warm-up
_CLIPPED = 0.9  # of the recent steps


def find(course: Course) -> Finding | None:
    if course.step < _MIN_STEPS:
        return None
    beginning, recent = course.beginning(0.01, at_least_steps=1), course.recent(0.05)  # the base model, as yet
    start, now, noise = loss_of(beginning), loss_of(recent), course.noise
    evidence = {
        "step": course.step,
        "loss_at_start": start.mean,
        "loss": now.mean,
        "peak_learning_rate": max(part.learning_rates / part.loss.n for part in course.slices if part.loss.n),
        "grad_norm": norm_of(recent),
        "clipped_share": clipped_share(recent),
    }
    for loss in (now, loss_of(course.recent(0.2))):
        if is_clearly_above(loss, start, times=1.1, plus=0.1, noise=noise):
            evidence["loss"] = loss.mean
            return _finding(f"the training loss has risen from {start.mean:.2f} to {loss.mean:.2f}", evidence)
    lowest, last = lowest_and_last(course)
    if course.progress <= _EARLY and has_left(lowest, last, noise, times=1.5, plus=0.3):
        evidence |= {"lowest_loss": lowest.mean, "loss": last.mean}
        return _finding(
            f"the training loss had come down to {lowest.mean:.2f} and has jumped to {last.mean:.2f}", evidence
        )
    spikes = _count_spikes(course)
    if spikes >= _MIN_SPIKES:
        evidence["spikes"] = spikes
        return _finding(f"the training loss has spiked {spikes} times over all it was at the start", evidence)
    growth = norm_of(recent) / norm_of(course.between(0.05, 0.15) or beginning)
    if growth >= _GROWTH and clipped_share(recent) >= _CLIPPED and now.mean > 0.9 * start.mean:
        evidence["grad_norm_growth"] = growth
        return _finding(
            f"gradient norms have grown {growth:.0f} times, {percent(clipped_share(recent))} of the steps are "
            f"clipped, and the loss is {now.mean:.2f} after {start.mean:.2f} at the start",
            evidence,
        )
    return None


def _count_spikes(course: Course) -> int:
    """Slices with a step whose loss is far over all of the start, and over what the slice before lets expect."""
    start = course.beginning(0.1, at_least_steps=10)
    ceiling = 1.3 * loss_of(start).highest + 0.5
    times = max(2.0, 1 + 12 * course.noise)
    pairs = zip(course.slices[len(start) - 1 :], course.slices[len(start) :], strict=False)
    return sum(after.loss.highest > max(ceiling, times * before.loss.mean) for before, after in pairs if before.loss.n)


def _finding(what: str, evidence: dict[str, float | int]) -> Finding:
    return Finding(
        Diagnosis.LEARNING_RATE_TOO_HOT,
        f"Learning rate too hot: at step {evidence['step']} {what}. Such a run seldom comes back, and what it makes is "
        "worse than the base model. Cancel it, and create it again with a third of the learning_rate_multiplier; if "
        "the steps are noisy, also with a larger batch_size. If only a few steps spike, look at the examples that are "
        "unlike the rest.",
        evidence,
    )
