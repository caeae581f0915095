"""What is diagnosed of preferences, and what is not."""

from typing import Any

import pytest

from server.fine_tuning.diagnoses.course import Course, RunFacts
from server.fine_tuning.diagnoses.diagnose import diagnose
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from trainer.contract.events import Metrics, Progress
from trainer.contract.spec import MethodName


def hear(method: MethodName, *, reward_at_end: float, steps: int = 100, loss_at_end: float = 0.1) -> list[Finding]:
    """What is said of a run whose rewards and loss move evenly from where they begin."""
    facts = RunFacts(steps, 2, 4 * steps, 8, 1.0, 0, method)
    course, said, found = Course(facts), set[Diagnosis](), list[Finding]()
    for step in range(1, steps + 1):
        share = step / steps
        figures: dict[str, Any] = {"rewards_chosen": reward_at_end * share}
        metrics = Metrics(train_loss=0.69 + (loss_at_end - 0.69) * share, train_mean_token_accuracy=1.0, **figures)
        event = Progress(
            seq=step,
            at=float(step),
            step=step,
            total_steps=steps,
            metrics=metrics,
            trained_tokens=100 * step,
            learning_rate=1e-5,
            grad_norm=1.0,
            seconds_per_step=1.0,
        )
        if course.add(event):
            course = Course.load(facts, course.dump())  # as a worker does that was started again
            found += diagnose(course, said)
            said |= {finding.name for finding in found}
    return found


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_answers_that_become_unlikely_though_they_are_preferred_are_told_once(method: MethodName) -> None:
    (found,) = hear(method, reward_at_end=-6.0)
    assert found.name == Diagnosis.PREFERENCES_COLLAPSE
    assert "Raise beta" in found.message
    assert found.evidence["reward_of_preferred"] <= -2


@pytest.mark.parametrize(
    ("method", "reward"),
    [("dpo", 3.0), ("dpo", -1.0), ("kto", -1.5), ("simpo", -12.0), ("orpo", -6.0)],
)
def test_rewards_that_rise_or_fall_a_little_or_have_no_reference_are_not(method: MethodName, reward: float) -> None:
    assert hear(method, reward_at_end=reward) == []


def test_what_is_said_of_supervised_losses_is_not_said_of_preferences() -> None:
    assert hear("dpo", reward_at_end=0.5, loss_at_end=5.0) == []
    assert hear("supervised", reward_at_end=0.5, loss_at_end=5.0) != []


def test_a_short_run_hears_nothing() -> None:
    assert hear("dpo", reward_at_end=-9.0, steps=12) == []
