"""Rounded by chance: nothing is lost on the whole, what the format holds stays, and the same gives the same."""

import pytest
import torch

from trainer.rounding import round_by_chance

FORMATS = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_that_is_too_small_for_the_format_is_kept_on_the_whole(dtype: torch.dtype, sign: int) -> None:
    step = torch.finfo(dtype).eps / 64  # of the format, from 1/64 on
    weights = torch.full((100_000,), sign * (1 / 64 + step / 10))
    assert (weights.to(dtype) == sign / 64).all()
    rounded = round_by_chance(weights, dtype, name="w")
    assert set(rounded.float().unique().tolist()) == {sign / 64, sign * (1 / 64 + step)}
    assert (rounded != sign / 64).float().mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_weight_becomes_one_of_the_two_beside_it(dtype: torch.dtype) -> None:
    weights = torch.randn(50, 1000, generator=torch.Generator().manual_seed(1))
    away = (round_by_chance(weights, dtype, name="w").float() - weights).abs()
    assert (away <= torch.finfo(dtype).eps * weights.abs() + torch.finfo(dtype).smallest_normal).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_the_format_holds_stays_as_it_is(dtype: torch.dtype) -> None:
    held = torch.randn(1000, generator=torch.Generator().manual_seed(2)).to(dtype)
    extreme = torch.tensor([0.0, -0.0, torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    for weights in (held, extreme, held.reshape(10, 100).t()):
        assert torch.equal(round_by_chance(weights.float(), dtype, name="w"), weights)


def test_what_is_stored_in_32_bits_is_not_rounded() -> None:
    weights = torch.randn(100)
    assert torch.equal(round_by_chance(weights, torch.float32, name="w"), weights)


def test_the_same_weights_under_the_same_name_give_the_same_numbers_and_others_others() -> None:
    weights, state = torch.full((1000,), 0.1), torch.get_rng_state()
    one, same, other = (round_by_chance(weights, torch.bfloat16, name=name) for name in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
