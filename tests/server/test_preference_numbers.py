"""The numbers that only preference methods have, and how far those step."""

import pytest

from server.fine_tuning.diagnoses.before_training import Plan, foresee
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve
from server.fine_tuning.preferences import (
    has_fused_head,
    labelled_share,
    own_numbers,
    passes_before_training,
    sequences_per_example,
)
from trainer.contract.formats.names import OF_METHOD
from trainer.contract.spec import MethodName

BASE = BaseModelInfo(1_000_000_000, 4096)
AUTO: dict[MethodName, dict[str, float]] = {
    "supervised": {},
    "dpo": {"beta": 0.1},
    "orpo": {"beta": 0.1},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "simpo": {"beta": 2.0, "gamma": 0.5},
    "continued_pretraining": {},
}


@pytest.mark.parametrize("method", OF_METHOD)
def test_auto_is_what_the_papers_take_and_what_was_asked_for_stays(method: MethodName) -> None:
    assert own_numbers(method, {}, n_examples=100, n_desirable=55) == AUTO[method]
    asked = dict.fromkeys(AUTO[method], 0.25)
    assert own_numbers(method, {**asked, "n_epochs": 3}, n_examples=100, n_desirable=55) == asked


@pytest.mark.parametrize(
    ("n_good", "n_bad", "good", "bad"),
    [
        (100, 100, 1.0, 1.0),
        (4, 3, 1.0, 1.0),
        (200, 100, 1.0, 1.5),
        (100, 200, 2.0, 1.0),
        (900, 100, 1.0, 6.75),
        (1, 999, 100.0, 1.0),
        (50, 0, 1.0, 1.0),
        (0, 50, 1.0, 1.0),
    ],
)
def test_the_rarer_kind_of_answer_counts_more(n_good: int, n_bad: int, good: float, bad: float) -> None:
    """All good answers together weigh as much as all bad ones, or up to a third more."""
    found = own_numbers("kto", {}, n_examples=n_good + n_bad, n_desirable=n_good)
    assert (found["desirable_weight"], found["undesirable_weight"]) == (good, bad)


@pytest.mark.parametrize(("method", "share"), [("dpo", 40), ("kto", 40), ("simpo", 40), ("orpo", 4)])
def test_preferences_step_less_far_and_that_is_no_reason_for_a_warning(method: MethodName, share: int) -> None:
    stats = DatasetStats(2_000)
    supervised, preferring = resolve({}, stats, BASE), resolve({}, stats, BASE, method=method)
    assert preferring.learning_rate == pytest.approx(supervised.learning_rate / share)
    assert preferring.learning_rate_multiplier == 1.0
    plan = Plan(2_000, 0, preferring.batch_size, preferring.learning_rate, BASE.parameters, method)
    assert foresee(plan) == []
    assert len(foresee(Plan(2_000, 0, preferring.batch_size, supervised.learning_rate, BASE.parameters, method))) == 1


def test_a_step_of_kto_has_enough_answers_to_estimate_on() -> None:
    assert [resolve({}, DatasetStats(50), BASE, method=method).batch_size for method in ("dpo", "kto")] == [1, 4]
    assert resolve({"batch_size": 2}, DatasetStats(50), BASE, method="kto").batch_size == 2


def test_what_a_job_shows_has_the_methods_own_numbers() -> None:
    shown = resolve({"beta": 0.3}, DatasetStats(50), BASE, method="dpo").shown(None)
    assert shown["beta"] == 0.3
    assert "beta" not in resolve({}, DatasetStats(50), BASE).shown(None)


def test_pairs_are_never_packed_and_both_answers_share_a_micro_batch() -> None:
    assert not resolve({}, DatasetStats(50), BASE, method="dpo", on_gpu=True).packing
    assert {method: sequences_per_example(method) for method in OF_METHOD} == {
        "supervised": 1,
        "dpo": 2,
        "orpo": 2,
        "kto": 1,
        "simpo": 2,
        "continued_pretraining": 1,
    }


def test_methods_with_a_reference_are_scored_by_the_fused_head_and_orpo_learns_half_of_the_prompts() -> None:
    assert {method for method in OF_METHOD if has_fused_head(method)} == {"dpo", "kto"}
    shares = {method: labelled_share(method, 0.2) for method in OF_METHOD}
    assert shares.pop("orpo") == pytest.approx(0.6)
    assert set(shares.values()) == {0.2}


def test_only_methods_with_a_reference_look_at_the_examples_before_training() -> None:
    assert {method: passes_before_training(method, 3) for method in OF_METHOD} == {
        "supervised": 0,
        "dpo": 1,
        "orpo": 0,
        "kto": 7,
        "simpo": 0,
        "continued_pretraining": 0,
    }
