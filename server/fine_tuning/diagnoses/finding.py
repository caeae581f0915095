"""What can be diagnosed, by name, and what is said of it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Diagnosis(StrEnum):
    """The closed list; docs/diagnoses.md says what each means. A job hears of each at most once."""

    # before the run, from the files and the hyperparameters
    BATCH_LARGER_THAN_EXAMPLES = "batch_larger_than_examples"
    LEARNING_RATE_OUTSIDE_RANGE = "learning_rate_outside_range"
    VALIDATION_TOO_SMALL = "validation_too_small"
    # while it runs, from its metrics
    LEARNING_RATE_TOO_HOT = "learning_rate_too_hot"
    LOSS_NOT_FALLING = "loss_not_falling"
    LOSS_RISES_AGAIN = "loss_rises_again"
    MEMORISED = "memorised"
    OVERFITTING = "overfitting"
    VALIDATION_FLAT = "validation_flat"
    PREFERENCES_COLLAPSE = "preferences_collapse"
    # at its end
    TOO_FEW_STEPS = "too_few_steps"


@dataclass(frozen=True)
class Finding:
    """One diagnosis of one job: numbers and advice, never a text of the data."""

    name: Diagnosis
    message: str
    evidence: dict[str, float | int] = field(default_factory=dict)

    def event_data(self) -> dict[str, str | float | int]:
        """The `data` of the event that tells it; numbers to four digits."""
        return {"diagnosis": self.name.value, **{name: _rounded(value) for name, value in self.evidence.items()}}


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rounded(value: float | int) -> float | int:
    return value if isinstance(value, int) else float(f"{value:.4g}")
