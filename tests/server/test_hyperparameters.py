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
    wanted_quantization,
)
from trainer.contract.spec import Quantization

DEMO, ONE_BILLION = BaseModelInfo(parameters=3_672_832, context_length=1024), BaseModelInfo(1_000_000_000, 4096)
ALL_AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


def resolved(n_examples: int, base: BaseModelInfo = DEMO, **requested: Any) -> ResolvedHyperparameters:
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
    shown = numbers.shown(None)
    assert {name: shown[name] for name in ALL_AUTO} == {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 0.3}
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


OURS_BY_RULE: dict[str, Any] = {
    "warmup_ratio": 0.05,
    "lr_scheduler": "cosine",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "packing": False,
    "optimizer": "adamw",
}


def test_ours_have_rules_of_their_own() -> None:
    shown = resolved(500).shown(None)
    assert OURS_BY_RULE.items() <= shown.items()
    assert "early_stopping_patience" not in shown  # there is none


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("learning_rate", 3e-4),
        ("warmup_ratio", 0.0),
        ("lr_scheduler", "inverse_sqrt"),
        ("weight_decay", 0.0),
        ("max_grad_norm", 0.3),
        ("max_seq_length", 100),
        ("packing", True),
        ("validation_interval", 7),
        ("early_stopping_patience", 3),
        ("optimizer", "adamw_8bit"),
    ],
)
def test_whatever_is_asked_for_is_kept_and_shown(name: str, asked: Any) -> None:
    assert resolved(500, **{name: asked}).shown(None)[name] == asked


def test_a_learning_rate_is_kept_and_shown_as_the_multiplier_that_it_comes_to() -> None:
    numbers = resolved(2_000, ONE_BILLION, learning_rate=3e-4)
    assert (numbers.learning_rate, numbers.learning_rate_multiplier) == (3e-4, 1.5)


def test_a_constant_learning_rate_has_no_warm_up_unless_its_name_says_so() -> None:
    assert resolved(500, lr_scheduler="constant").warmup_ratio == 0.0
    assert resolved(500, lr_scheduler="constant_with_warmup").warmup_ratio == 0.05


@pytest.mark.parametrize(
    ("longest", "asked", "expected"),
    [(300, "auto", 300), (9_000, "auto", 4096), (0, "auto", 4096), (300, 1000, 1000), (300, 100, 100), (9, 8192, 4096)],
)
def test_sequences_are_as_long_as_the_data_within_what_is_asked_and_the_context(
    longest: int, asked: Any, expected: int
) -> None:
    numbers = resolve({"max_seq_length": asked}, DatasetStats(500, longest_tokens=longest), ONE_BILLION)
    assert numbers.max_seq_length == expected


@pytest.mark.parametrize(("n_epochs", "batch_size", "interval"), [(1, 500, 1), (1, 25, 1), (4, 4, 25), (3, 1, 75)])
def test_a_part_of_the_validation_file_is_looked_at_twenty_times_in_a_run(
    n_epochs: int, batch_size: int, interval: int
) -> None:
    assert resolved(500, n_epochs=n_epochs, batch_size=batch_size).validation_interval_steps == interval


@pytest.mark.parametrize("on_gpu", [True, False])
def test_examples_share_rows_where_that_is_faster(on_gpu: bool) -> None:
    assert resolve({}, DatasetStats(500), DEMO, on_gpu=on_gpu).packing == on_gpu
    assert resolve({"packing": not on_gpu}, DatasetStats(500), DEMO, on_gpu=on_gpu).packing != on_gpu


@pytest.mark.parametrize(("planned", "shown"), [(None, "none"), ("nf4", "nf4"), ("int8", "int8")])
def test_quantisation_is_shown_as_it_was_planned(planned: Quantization | None, shown: str) -> None:
    assert resolved(500).shown(planned)["quantization"] == shown


@pytest.mark.parametrize(("asked", "wanted"), [({}, "auto"), ("auto", "auto"), ("none", None), ("int8", "int8")])
def test_none_means_that_the_base_stays_as_it_is(asked: Any, wanted: Any) -> None:
    assert wanted_quantization({"quantization": asked} if asked else {}) == wanted
