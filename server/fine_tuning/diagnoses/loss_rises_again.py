"""Loss falls, then rises: late in the run, the training loss has left its lowest level for good."""

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.diagnoses.stretches import has_left, loss_of, lowest_and_last

_MIN_STEPS = 20


def find(course: Course) -> Finding | None:
    if course.progress < 0.5 or course.step < _MIN_STEPS:
        return None
    start, (lowest, now) = loss_of(course.beginning(0.01)), lowest_and_last(course)
    if lowest.mean > 0.9 * start.mean:
        return None
    if not has_left(lowest, now, course.noise, times=1.2, plus=0.1):
        return None
    return Finding(
        Diagnosis.LOSS_RISES_AGAIN,
        f"The training loss fell from {start.mean:.2f} to {lowest.mean:.2f} and has risen again to {now.mean:.2f} at "
        f"step {course.step}: the run has gone past its best. Use the checkpoint from before the rise, if one is kept; "
        "create the job again with fewer epochs, a lower learning_rate_multiplier, or more data.",
        {"step": course.step, "loss_at_start": start.mean, "lowest_loss": lowest.mean, "loss": now.mean},
    )
