"""Order, layout and learning rate: the pure parts of a step."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.layout import fill_rows, lay_out
from trainer.learning_rate import factor, warmup_steps
from trainer.order import StepOrder


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 3))
def test_every_epoch_trains_on_every_example_once(n_examples: int, batch_size: int, n_epochs: int, seed: int) -> None:
    order = StepOrder(n_examples, batch_size, n_epochs, seed)
    assert order.total_steps == n_epochs * math.ceil(n_examples / batch_size)
    seen: list[int] = []
    for step in range(1, order.total_steps + 1):
        assert 1 <= len(order.examples_of(step)) <= batch_size
        seen += order.examples_of(step)
        if epoch := order.epoch_ended_by(step):
            assert sorted(seen) == list(range(n_examples))
            assert epoch == step // order.steps_per_epoch
            seen = []
    assert not seen


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, other_seed = StepOrder(50, 50, 2, 1), StepOrder(50, 50, 2, 2)
    orders = {first.examples_of(1), first.examples_of(2), other_seed.examples_of(1)}
    assert len(orders) == 3
    assert StepOrder(50, 50, 2, 1).examples_of(2) == first.examples_of(2)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=40), st.integers(1, 2000))
def test_every_example_is_in_one_micro_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = lay_out(lengths, budget_tokens=budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([50, 50, 50], [[0, 1, 2]]),  # nothing is gained by splitting
        ([10, 400, 12, 390], [[1, 3], [2, 0]]),  # short ones are not padded to long ones
        ([50, 52], [[1, 0]]),
    ],
)
def test_similar_lengths_share_a_micro_batch(lengths: list[int], groups: list[list[int]]) -> None:
    assert lay_out(lengths, budget_tokens=4096) == groups


@given(st.lists(st.integers(1, 600), min_size=1, max_size=40), st.integers(1, 2000))
def test_every_example_is_in_one_row_that_holds_no_more_than_it_may(lengths: list[int], row_tokens: int) -> None:
    rows = fill_rows(lengths, row_tokens=row_tokens)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    for row in rows:
        assert len(row) == 1 or sum(lengths[index] for index in row) <= row_tokens


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([50, 50, 50], [[0, 1], [2]]),
        ([10, 100, 60, 40, 30], [[1], [2, 3], [4, 0]]),  # each where the least room is left
        ([300, 20], [[0], [1]]),  # too long for a row: alone
    ],
)
def test_rows_are_filled_with_the_longest_first(lengths: list[int], rows: list[list[int]]) -> None:
    assert fill_rows(lengths, row_tokens=100) == rows


def test_the_learning_rate_warms_up_to_its_peak_and_falls_without_ever_being_zero() -> None:
    factors = [factor(step, scheduler="cosine", total_steps=40, warmup_ratio=0.1) for step in range(40)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert all(0 < value <= 1 for value in factors)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 100])
def test_even_the_shortest_run_has_a_step_after_its_warm_up(total_steps: int) -> None:
    assert warmup_steps(total_steps, 0.9) < total_steps
    factors = [
        factor(step, scheduler="linear", total_steps=total_steps, warmup_ratio=0.9) for step in range(total_steps)
    ]
    assert max(factors) == 1.0
