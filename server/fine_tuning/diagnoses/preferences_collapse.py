"""Preferences collapse: the preferred answers become unlikely, too, and the model ends far from where it began."""

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding

_MIN_STEPS = 20
_FAR_BELOW = -2.0  # the reward of preferred answers: at a beta of 0.1, e^20 times less likely than before


def find(course: Course) -> Finding | None:
    if not course.facts.has_reference or course.progress < 0.25 or course.step < _MIN_STEPS:
        return None
    recent = course.recent(0.1)
    n_steps = sum(part.loss.n for part in recent)
    reward = sum(part.chosen_rewards for part in recent) / max(1, n_steps)
    if reward > _FAR_BELOW:
        return None
    return Finding(
        Diagnosis.PREFERENCES_COLLAPSE,
        f"The preferred answers themselves have become unlikely: their reward is {reward:.1f} at step {course.step}, "
        "and 0 is where the model was before training. It forgets how to answer, and often repeats itself. Raise beta, "
        "which keeps it closer to where it was; lower learning_rate_multiplier; look for answers that are judged the "
        "wrong way round, and shorten long ones.",
        {"step": course.step, "reward_of_preferred": reward},
    )
