"""Quantised bases, optimizers, schedulers, packing, validation: what is asked of a run is what the trainer does."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from trainer_runs import events, make_run, make_spec, progress, train_here
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trainer.contract.events import Note
from trainer.contract.golden import DRIFT_TO_WARN_OF, Drift, GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import LoraSettings, MemoryPlan, Optimizer, Scheduler, ServingLimits
from trainer.learning_rate import factor, warmup_steps

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

PLAN = MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None)
NF4, INT8 = (PLAN.model_copy(update={"quantization": quantization}) for quantization in ("nf4", "int8"))
WIDE = LoraSettings(
    rank=128, alpha=128, dropout=0.1, target_modules="all-linear"
)  # moments of 8 bits need 4096 numbers
PLAIN = LoraSettings(rank=4, alpha=8, dropout=0.0, target_modules="all-linear")
TWO_EPOCHS = {"n_epochs": 2}

Train = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def train(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """The same run, done once however often it is asked for: 14 steps in two epochs."""
    done: dict[str, RunDirectory] = {}

    def train(n_validation: int = 0, **overrides: Any) -> RunDirectory:
        overrides["method"] = {**TWO_EPOCHS, **overrides.get("method", {})}
        spec = make_spec(base, **overrides)
        key = f"{n_validation} {spec.model_dump_json()}"
        if key not in done:
            run = make_run(tmp_path_factory.mktemp("run") / "run", spec, n_validation=n_validation)
            done[key] = train_here(run)
        return done[key]

    return train


def losses(run: RunDirectory) -> list[float]:
    return [step.metrics.train_loss for step in progress(run)]


def outcome(run: RunDirectory) -> tuple[bytes, list[Any]]:
    """The adapter, and what the last steps report but for their times."""
    facts = [(step.step, step.metrics, step.learning_rate, step.grad_norm) for step in progress(run)[-7:]]
    return (run.adapter / "adapter_model.safetensors").read_bytes(), facts


@pytest.mark.parametrize(("plan", "tolerance"), [(NF4, 1e-2), (INT8, 1e-3)], ids=["nf4", "int8"])
def test_a_quantised_base_learns_what_the_plain_one_learns(train: Train, plan: MemoryPlan, tolerance: float) -> None:
    quantised, plain = losses(train(lora=PLAIN, memory=plan)), losses(train(lora=PLAIN))
    assert quantised == pytest.approx(plain, rel=tolerance)
    assert quantised[-1] < 0.99 * quantised[0]


@pytest.mark.parametrize("plan", [NF4, PLAN], ids=["trained in nf4", "trained as it is"])
def test_samples_are_taken_on_the_form_that_serves_and_the_drift_is_measured_to_there(
    train: Train, plan: MemoryPlan
) -> None:
    run = train(lora=PLAIN, memory=plan, serving=ServingLimits(quantization="nf4"))
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    other = train(lora=PLAIN, memory=plan)
    of_other = GoldenSamples.model_validate_json((other.adapter / "golden_samples.json").read_bytes())
    assert (golden.quantization, of_other.quantization) == ("nf4", None)
    assert (golden.drift is None, of_other.drift is None) == (plan is NF4, plan is PLAN)
    assert golden.samples != of_other.samples, "they are of another base"


@pytest.mark.parametrize("form", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
def test_a_base_whose_own_files_are_quantised_is_trained_on_as_it_is(
    base: Path, form: dict[str, Any], tmp_path: Path
) -> None:
    stored = shutil.copytree(base, tmp_path / "stored", ignore=shutil.ignore_patterns("*.safetensors"))
    config = BitsAndBytesConfig(**form)
    AutoModelForCausalLM.from_pretrained(base, quantization_config=config).save_pretrained(stored)
    spec = make_spec(stored, lora=PLAIN, method=TWO_EPOCHS)
    run = train_here(make_run(tmp_path / "run", spec, n_validation=3))
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    assert losses(run)[-1] < 0.99 * losses(run)[0]
    assert (golden.drift, golden.base_gap > 0) == (None, True)


STATES: dict[str, dict[str, Any]] = {
    "nf4": {"memory": NF4},
    "int8": {"memory": INT8},
    "adamw_8bit": {"lora": WIDE, "method": {"optimizer": "adamw_8bit"}},
    "linear": {"method": {"lr_scheduler": "linear"}},
}


@pytest.mark.parametrize("name", STATES)
def test_a_resumed_run_ends_in_the_same_bytes(train: Train, name: str) -> None:
    whole = train(3, **STATES[name])
    again = train(3, **STATES[name], resume_from=whole.checkpoint(7))
    assert progress(again)[0].step == 8
    assert outcome(again) == outcome(whole)


def test_moments_of_8_bits_learn_what_those_of_32_learn(train: Train) -> None:
    moments = torch.load(
        train(3, **STATES["adamw_8bit"]).checkpoint(7) / "state.pt", weights_only=True, map_location="cpu"
    )["optimizer"]["state"]
    stored = {
        tensor.dtype
        for state in moments.values()
        for name, tensor in state["__bnb_optimizer_quant_state__"].items()
        if name in ("state1", "state2")
    }
    assert torch.uint8 in stored
    of_8_bits, of_32 = losses(train(3, **STATES["adamw_8bit"])), losses(train(lora=WIDE))
    assert of_8_bits == pytest.approx(of_32, rel=0.02)
    assert of_8_bits != of_32


def test_how_far_the_quantised_base_is_from_the_one_that_serves_is_kept_and_said(train: Train) -> None:
    drifts = {}
    for name, plan in {"nf4": NF4, "int8": INT8}.items():
        run = train(lora=PLAIN, memory=plan)
        golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
        assert golden.drift is not None
        drifts[name] = golden.drift
        (note,) = [event for event in events(run) if isinstance(event, Note)]
        assert (note.level, note.message) == ("info", golden.drift.describe(None))
    assert 0 < drifts["int8"].mean < drifts["nf4"].mean < drifts["nf4"].largest
    assert 0 < drifts["int8"].of_base < drifts["nf4"].of_base


def test_a_drift_above_the_level_that_is_stated_is_warned_of() -> None:
    assert not Drift(DRIFT_TO_WARN_OF, 1.0, 0.1).is_large
    large = Drift(0.3, 1.0, 0.1)
    assert large.is_large
    assert "More than 0.1 is much" in large.describe(None)


def test_packed_examples_have_the_losses_that_they_have_alone(train: Train) -> None:
    assert losses(train(lora=PLAIN, packing=True)) == pytest.approx(losses(train(lora=PLAIN)), rel=1e-4)


@pytest.mark.parametrize(("interval", "steps"), [(5, [5, 10, 14]), (14, [14]), (100, [14]), (None, list(range(1, 15)))])
def test_a_part_of_the_validation_file_is_looked_at_as_often_as_is_asked(
    train: Train, interval: int | None, steps: list[int]
) -> None:
    run = train(n_validation=5, method={"validation_interval_steps": interval})
    assert [step.step for step in progress(run) if step.metrics.valid_loss is not None] == steps
    assert [step.step for step in progress(run) if step.metrics.full_valid_loss is not None] == [7, 14]


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
@pytest.mark.parametrize(("total_steps", "warmup_ratio"), [(1, 0.0), (40, 0.0), (40, 0.1), (7, 0.5)])
def test_every_scheduler_is_that_of_transformers_without_its_step_at_rate_0(
    scheduler: Scheduler, total_steps: int, warmup_ratio: float
) -> None:
    from torch import nn, optim
    from transformers import get_scheduler

    optimizer = optim.SGD([nn.Parameter(nn.Linear(1, 1).weight)], lr=1.0)
    theirs = get_scheduler(
        scheduler,
        optimizer,
        num_warmup_steps=warmup_steps(total_steps, warmup_ratio) + 1,
        num_training_steps=total_steps + 1,
        scheduler_specific_kwargs={"min_lr_rate": 0.1} if scheduler == "cosine_with_min_lr" else None,
    )
    for step in range(total_steps):
        optimizer.step()
        theirs.step()
        ours = factor(step, scheduler=scheduler, total_steps=total_steps, warmup_ratio=warmup_ratio)
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        assert ours > 0


def test_the_learning_rate_follows_the_scheduler_that_is_asked_for(train: Train) -> None:
    rates = [step.learning_rate for step in progress(train(3, **STATES["linear"]))]
    assert rates == pytest.approx([2.5e-3, *(5e-3 * (13 - step) / 13 for step in range(13))])
    constant = train(method={"lr_scheduler": "constant"})
    assert {step.learning_rate for step in progress(constant)} == {5e-3}


def test_weight_decay_and_the_largest_gradient_norm_are_those_that_are_asked_for(train: Train) -> None:
    plain, decayed, clipped = (
        outcome(train(lora=PLAIN, method=method))[0] for method in ({}, {"weight_decay": 0.9}, {"max_grad_norm": 1e-3})
    )
    assert len({plain, decayed, clipped}) == 3


def test_examples_are_cut_where_it_is_asked_and_the_gate_says_how_many(base: Path, tmp_path: Path) -> None:
    from trainer.check import check
    from trainer.contract.spec import CheckSpec

    spec = make_spec(base, context_length_tokens=32, method={"n_epochs": 1})
    run = make_run(tmp_path / "run", spec)
    report = check(run, CheckSpec(job_id="ftjob-test", base_model=spec.base_model, context_length_tokens=32))
    assert report.training is not None
    assert report.training.longest_tokens > 32
    assert report.training.truncated_lines
    (finding,) = [found for found in report.findings if found.check == "truncated_answers"]
    assert finding.message.startswith(f"{finding.n_lines} example(s) of the training file are longer")
    train_here(run)
    assert progress(run)[-1].trained_tokens == report.training.n_tokens
    assert math.isfinite(losses(run)[-1])


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"])
def test_on_a_gpu_every_optimizer_goes_on_from_its_own_state(train: Train, optimizer: Optimizer) -> None:
    how: dict[str, Any] = {"lora": WIDE, "method": {"optimizer": optimizer}}
    whole = train(**how)
    assert losses(whole) == pytest.approx(losses(train(lora=WIDE)), rel=0.05)
    assert outcome(train(**how, resume_from=whole.checkpoint(7))) == outcome(whole)
