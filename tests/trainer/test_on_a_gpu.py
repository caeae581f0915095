"""The real trainer on a GPU: bfloat16, every plan, and going on; the shapes of real bases are `benchmarks gpu`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import events, make_run, make_spec, progress, train_here

from trainer.contract.events import Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import LoraSettings, MemoryPlan

pytestmark = [pytest.mark.gpu, pytest.mark.trainer, pytest.mark.timeout(300)]

PLAN = MemoryPlan(micro_batch_tokens=2048, gradient_checkpointing=False, quantization=None)
LORA = LoraSettings(rank=4, alpha=8, dropout=0.0, target_modules="all-linear")
LEANER = {
    "checkpointing": PLAN.model_copy(update={"gradient_checkpointing": True}),
    "smaller": PLAN.model_copy(update={"micro_batch_tokens": 64}),
    "nf4": PLAN.model_copy(update={"quantization": "nf4"}),
    "nf4 and checkpointing": PLAN.model_copy(update={"quantization": "nf4", "gradient_checkpointing": True}),
    "int8": PLAN.model_copy(update={"quantization": "int8"}),
}

Train = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def train(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """The same run, done once however often it is asked for: 14 steps in two epochs."""
    done: dict[str, RunDirectory] = {}

    def train(plan: MemoryPlan = PLAN, **overrides: Any) -> RunDirectory:
        spec = make_spec(base, **{"memory": plan, "lora": LORA, "method": {"n_epochs": 2}, **overrides})
        key = spec.model_dump_json()
        if key not in done:
            done[key] = train_here(make_run(tmp_path_factory.mktemp("run") / "run", spec))
        return done[key]

    return train


def losses(run: RunDirectory) -> list[float]:
    return [step.metrics.train_loss for step in progress(run)]


def test_it_trains_in_bfloat16_learns_and_says_what_it_took(train: Train) -> None:
    run = train()
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    assert last.measured is not None
    assert last.measured.device == "cuda"
    assert last.measured.peak_tensor_bytes > 0
    assert last.measured.largest_micro_batch_tokens > 0
    assert losses(run)[-1] < losses(run)[0]


@pytest.mark.parametrize("plan", LEANER.values(), ids=LEANER)
def test_every_plan_learns_the_same_but_for_rounding(train: Train, plan: MemoryPlan) -> None:
    assert losses(train(plan)) == pytest.approx(losses(train()), rel=0.05)


def test_packed_rows_learn_what_rectangles_learn(train: Train) -> None:
    assert losses(train(packing=True)) == pytest.approx(losses(train()), rel=0.02)


@pytest.mark.parametrize("plan", [PLAN, LEANER["nf4"]], ids=["bfloat16", "nf4"])
def test_a_run_goes_on_from_its_checkpoint(train: Train, plan: MemoryPlan) -> None:
    """A GPU does not add up in the same order each time."""
    whole = train(plan)
    again = train(plan, resume_from=whole.checkpoint(7))
    assert losses(again) == pytest.approx(losses(whole)[7:], rel=0.01)
