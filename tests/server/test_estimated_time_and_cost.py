"""How long, and for how much: by table."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from server.fine_tuning.estimates.duration import Amount, Speed, estimate_seconds, speed_of
from server.fine_tuning.estimates.prices import HostedPrice, PricesInvalid, cost_of, load_prices
from server.settings import Settings
from trainer.contract.spec import MemoryPlan


def plan(*, checkpointing: bool = False, nf4: bool = False) -> MemoryPlan:
    return MemoryPlan(
        micro_batch_tokens=4096, gradient_checkpointing=checkpointing, quantization="nf4" if nf4 else None
    )


def run(tokens_per_second: float, *, checkpointing: bool = False, **facts: Any) -> dict[str, Any]:
    """What a run of 1,000 tokens in 10 steps took; a step counts for 64 tokens more."""
    cost = 1640 * (4 / 3 if checkpointing else 1)
    return {
        "device": "cpu",
        "threads": 1,
        "n_steps": 10,
        "n_tokens": 1000,
        "step_seconds": cost / tokens_per_second,
        "start_seconds": 5.0,
        "plan": plan(checkpointing=checkpointing).model_dump(),
    } | facts


def ask(*measured: dict[str, Any]) -> Speed:
    return speed_of(measured, device="cpu", threads=1, parameters=4_000_000)


@pytest.mark.parametrize(
    ("measured", "tokens_per_second", "n_runs"),
    [
        ([run(2000)], 2000, 1),
        ([run(2000, checkpointing=True)], 2000, 1),
        ([run(1000), run(3000), run(2000)], 2000, 3),
        ([run(100), run(100), run(100), run(100), run(100), run(9000)], 100, 5),
        ([run(2000), run(9000, device="cuda"), run(9000, threads=2), run(9000, n_steps=0)], 2000, 1),
    ],
    ids=[
        "one",
        "with checkpointing",
        "the one in the middle",
        "the last five",
        "no other device, threads or empty run",
    ],
)
def test_the_speed_is_that_of_earlier_runs(
    measured: list[dict[str, Any]], tokens_per_second: float, n_runs: int
) -> None:
    speed = ask(*measured)
    assert (speed.source, speed.n_runs, speed.start_s) == ("measured", n_runs, 5.0)
    assert speed.tokens_per_second == pytest.approx(tokens_per_second)


def test_before_any_run_the_speed_is_a_guess_that_says_so() -> None:
    small = ask(run(9000, device="cuda"))
    large = speed_of([], device="cpu", threads=2, parameters=8_000_000)
    assert (small.source, small.n_runs) == ("guessed", 0)
    assert large.tokens_per_second == pytest.approx(small.tokens_per_second)


@pytest.mark.parametrize(
    ("amount", "way", "seconds"),
    [
        (Amount(n_steps=10, n_tokens=1360), plan(), 5 + 2),
        (Amount(n_steps=10, n_tokens=860), plan(checkpointing=True), 5 + 2),
        (Amount(n_steps=10, n_tokens=1860), plan(nf4=True), 5 + 3),
        (Amount(n_steps=10, n_tokens=1360, validation_tokens=3000), plan(), 5 + 3),
    ],
)
def test_steps_validation_and_the_plan_take_their_time(amount: Amount, way: MemoryPlan, seconds: float) -> None:
    assert estimate_seconds(amount, Speed(1000, "measured", 1, start_s=5), way) == pytest.approx(seconds)


HOSTED = HostedPrice(provider="Elsewhere", model="m", per_million_tokens=3.0, currency="USD", as_of=date(2025, 6, 1))


def test_the_cost_is_the_operators_price_beside_those_of_hosted_services() -> None:
    cost = cost_of(2_500_000, price=0.4, currency="EUR", hosted=(HOSTED,))
    assert (cost.amount, cost.currency, cost.hosted) == (1.0, "EUR", ((HOSTED, 7.5),))
    assert cost_of(10, price=None, currency="USD", hosted=()).amount is None


def test_the_committed_list_of_prices_can_be_read_and_each_says_of_which_day_it_is() -> None:
    prices = load_prices(Settings().hosted_prices_file)
    assert prices
    assert all(price.as_of < date.today() for price in prices)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        ("price = 3", "price"),
        ("[[price]]\nprovider = 'a'", "price.0.model"),
        ("[[price]", "cannot read"),
        ("[[prize]]", "prize"),
        (
            "[[price]]\nprovider='a'\nmodel='b'\nper_million_tokens=-1\ncurrency='USD'\nas_of=2025-01-01",
            "per_million_tokens",
        ),
    ],
)
def test_a_list_of_prices_that_cannot_be_used_says_where(tmp_path: Path, text: str, words: str | None) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    if words is None:
        assert load_prices(path) == ()
        return
    with pytest.raises(PricesInvalid, match=words):
        load_prices(path)


def test_a_list_of_prices_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesInvalid, match="no prices"):
        load_prices(tmp_path / "no prices.toml")
