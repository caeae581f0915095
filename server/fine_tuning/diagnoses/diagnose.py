"""All diagnoses of a run that is going on, in order: which to ask, and which make others superfluous."""

from collections.abc import Callable, Mapping, Set

from server.fine_tuning.diagnoses import (
    hot_learning_rate,
    loss_not_falling,
    loss_rises_again,
    memorised,
    overfitting,
    preferences_collapse,
    too_few_steps,
    validation_flat,
)
from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding

_ORDER: Mapping[Diagnosis, Callable[[Course], Finding | None]] = {
    Diagnosis.LEARNING_RATE_TOO_HOT: hot_learning_rate.find,
    Diagnosis.LOSS_NOT_FALLING: loss_not_falling.find,
    Diagnosis.LOSS_RISES_AGAIN: loss_rises_again.find,
    Diagnosis.MEMORISED: memorised.find,
    Diagnosis.OVERFITTING: overfitting.find,
    Diagnosis.VALIDATION_FLAT: validation_flat.find,
    Diagnosis.TOO_FEW_STEPS: too_few_steps.find,
}
_OF_PREFERENCES = {Diagnosis.PREFERENCES_COLLAPSE: preferences_collapse.find}  # whose losses follow other curves
_SILENCED_BY: Mapping[Diagnosis, Set[Diagnosis]] = {  # one cause, one advice
    Diagnosis.LOSS_NOT_FALLING: {Diagnosis.LEARNING_RATE_TOO_HOT},
    Diagnosis.LOSS_RISES_AGAIN: {Diagnosis.LEARNING_RATE_TOO_HOT},
    Diagnosis.OVERFITTING: {Diagnosis.LEARNING_RATE_TOO_HOT, Diagnosis.LOSS_RISES_AGAIN},
    Diagnosis.VALIDATION_FLAT: {Diagnosis.LEARNING_RATE_TOO_HOT, Diagnosis.OVERFITTING, Diagnosis.MEMORISED},
    Diagnosis.TOO_FEW_STEPS: set(_ORDER) - {Diagnosis.TOO_FEW_STEPS},
}


def diagnose(course: Course, said: Set[Diagnosis]) -> list[Finding]:
    """What is to be said now, after what was said before. Nothing of a run whose beginning was not seen."""
    found: dict[Diagnosis, Finding] = {}
    if not course.is_from_the_beginning:
        return []
    for name, find in (_ORDER if course.facts.method == "supervised" else _OF_PREFERENCES).items():
        if name in said or _SILENCED_BY.get(name, frozenset()) & (said | found.keys()):
            continue
        finding = find(course)
        if finding is not None:
            found[name] = finding
    return list(found.values())
