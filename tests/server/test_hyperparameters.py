"""The numbers a job gets, by table."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fine_tuning.hyperparameters import (
    BaseModelInfo,
    DatasetStats,
    ResolvedHyperparameters,
    reference_learning_rate,
    resolve,
)

DEMO, ONE_BILLION = BaseModelInfo(parameters=3_672_832, context_length=1024), BaseModelInfo(1_000_000_000, 4096)
ALL_AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


def resolved(n_examples: int, base: BaseModelInfo = DEMO, **requested: float) -> ResolvedHyperparameters:
    return resolve({**ALL_AUTO, **requested}, DatasetStats(n_examples, n_tokens=40 * n_examples), base)


@pytest.mark.parametrize(
    ("n_examples", "n_epochs", "batch_size"),
    [
        (1, 10, 1),
        (10, 10, 1),
        (20, 7, 1),
        (50, 4, 1),
        (100, 3, 1),
        (101, 5, 1),
        (200, 5, 2),
        (300, 4, 4),
        (500, 4, 4),
        (600, 4, 8),
        (1_000, 3, 8),
        (2_000, 3, 16),
        (9_999, 3, 16),
        (10_000, 2, 16),
        (50_000, 1, 32),
        (100_000, 1, 64),
        (10_000_000, 1, 256),
    ],
)
def test_epochs_and_batch_follow_the_number_of_examples(n_examples: int, n_epochs: int, batch_size: int) -> None:
    numbers = resolved(n_examples)
    assert (n_epochs, batch_size) == (numbers.n_epochs, numbers.batch_size)


@pytest.mark.parametrize(
    ("parameters", "batch_size", "expected"),
    [
        (70_000_000_000, 16, 2e-4),
        (1_000_000_000, 16, 2e-4),
        (100_000_000, 16, 7.66e-4),
        (4_000_000, 16, 5e-3),
        (4_000_000, 8, 3.79e-3),
        (4_000_000, 1, 1.65e-3),
        (1_000_000_000, 64, 3.48e-4),
        (1_000_000_000, 256, 3.48e-4),
    ],
)
def test_the_reference_learning_rate_follows_model_and_batch(parameters: int, batch_size: int, expected: float) -> None:
    assert pytest.approx(expected, rel=0.01) == reference_learning_rate(parameters, batch_size)


def test_explicit_numbers_are_kept_exactly() -> None:
    numbers = resolved(500, n_epochs=3, batch_size=1, learning_rate_multiplier=0.3)
    assert numbers.wire() == {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 0.3}
    assert numbers.learning_rate == reference_learning_rate(DEMO.parameters, 1) * 0.3


def test_what_was_not_asked_for_counts_as_auto() -> None:
    assert resolve({}, DatasetStats(500), DEMO) == resolved(500)


def test_an_explicit_batch_changes_the_automatic_learning_rate() -> None:
    assert resolved(500, batch_size=1).learning_rate < resolved(500).learning_rate


def test_a_batch_larger_than_the_file_has_the_learning_rate_of_the_file() -> None:
    assert resolved(10, batch_size=256).learning_rate == reference_learning_rate(DEMO.parameters, 10)


@pytest.mark.parametrize(("asked", "patience"), [("auto", None), (1, 1), (7, 7)])
def test_patience_is_none_unless_it_is_asked_for(asked: Any, patience: int | None) -> None:
    assert resolve({**ALL_AUTO, "early_stopping_patience": asked}, DatasetStats(500), DEMO) == replace(
        resolved(500), early_stopping_patience=patience
    )


def test_total_steps_count_the_short_last_step_of_each_epoch() -> None:
    assert resolved(10, n_epochs=3, batch_size=4).total_steps(10) == 9


def test_a_large_base_has_the_guides_learning_rate() -> None:
    assert resolved(2_000, ONE_BILLION).learning_rate == pytest.approx(2e-4)


@given(n_examples=st.integers(1, 10**9), parameters=st.integers(1, 10**13))
def test_every_automatic_number_is_usable(n_examples: int, parameters: int) -> None:
    numbers = resolved(n_examples, BaseModelInfo(parameters, 1024))
    assert 1 <= numbers.n_epochs <= 50
    assert 1 <= numbers.batch_size <= 256
    assert math.isfinite(numbers.learning_rate)
    assert 1e-6 < numbers.learning_rate < 0.1
