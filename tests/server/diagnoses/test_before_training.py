"""What is told of a plan before its first step."""

from dataclasses import replace
from typing import Any

import pytest

from server.fine_tuning.diagnoses.before_training import Plan, foresee, learning_rate_range
from server.fine_tuning.diagnoses.finding import Diagnosis
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve

SOUND = Plan(
    n_examples=1000,
    n_validation=100,
    batch_size=16,
    learning_rate=2e-4,
    parameters=8_000_000_000,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_validation": 0},
        {"n_validation": 20},
        {"batch_size": 1000},
        {"learning_rate": 1e-4},
        {"learning_rate": 3e-4},
        {"learning_rate": 1.0, "parameters": None},
        {"n_examples": 10, "batch_size": 1, "learning_rate": 6.6e-5},
    ],
)
def test_nothing_is_said_of_a_sound_plan(changes: dict[str, Any]) -> None:
    assert foresee(replace(SOUND, **changes)) == []


@pytest.mark.parametrize(
    ("changes", "name", "numbers"),
    [
        ({"batch_size": 1001}, Diagnosis.BATCH_LARGER_THAN_EXAMPLES, {"batch_size": 1001, "n_examples": 1000}),
        ({"batch_size": 64, "n_examples": 10}, Diagnosis.BATCH_LARGER_THAN_EXAMPLES, {"n_examples": 10}),
        ({"batch_size": 2, "n_examples": 1}, Diagnosis.BATCH_LARGER_THAN_EXAMPLES, {"batch_size": 2}),
        ({"learning_rate": 9e-5}, Diagnosis.LEARNING_RATE_OUTSIDE_RANGE, {"lowest": 1e-4, "highest": 3e-4}),
        ({"learning_rate": 3.1e-4}, Diagnosis.LEARNING_RATE_OUTSIDE_RANGE, {"learning_rate": 3.1e-4}),
        ({"parameters": 4_000_000}, Diagnosis.LEARNING_RATE_OUTSIDE_RANGE, {"base_parameters": 4_000_000}),
        ({"n_validation": 1}, Diagnosis.VALIDATION_TOO_SMALL, {"n_validation": 1}),
        ({"n_validation": 10}, Diagnosis.VALIDATION_TOO_SMALL, {"n_validation": 10}),
        ({"n_validation": 19}, Diagnosis.VALIDATION_TOO_SMALL, {"n_validation": 19}),
    ],
)
def test_a_fault_of_a_plan_is_named_with_its_numbers(
    changes: dict[str, Any], name: Diagnosis, numbers: dict[str, float]
) -> None:
    found = {finding.name: finding for finding in foresee(replace(SOUND, **changes))}
    assert name in found
    data = found[name].event_data()
    assert data["diagnosis"] == name.value
    assert {key: data[key] for key in numbers} == numbers


@pytest.mark.parametrize("parameters", [4_000_000, 135_000_000, 1_000_000_000, 70_000_000_000])
@pytest.mark.parametrize("n_examples", [10, 50, 100, 500, 1000, 20_000, 1_000_000])
def test_the_learning_rate_that_auto_takes_is_within_the_range(parameters: int, n_examples: int) -> None:
    numbers = resolve({}, DatasetStats(n_examples), BaseModelInfo(parameters))
    low, high = learning_rate_range(parameters, numbers.batch_size)
    assert low <= numbers.learning_rate <= high


def test_a_message_says_which_way_to_turn() -> None:
    (low,) = foresee(replace(SOUND, learning_rate=1e-6))
    (high,) = foresee(replace(SOUND, learning_rate=1e-2))
    assert ("below" in low.message, "Raise learning_rate_multiplier" in low.message) == (True, True)
    assert ("above" in high.message, "Lower learning_rate_multiplier" in high.message) == (True, True)
