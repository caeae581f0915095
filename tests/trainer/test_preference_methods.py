"""Each method with the real libraries: what it computes, what it changes, and how those of preferences go on."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from plain_trl import train_plainly
from preference_runs import ALL_METHODS, METHODS, N_EXAMPLES, make_preference_run, preference_spec
from trainer_runs import FAULTS, checkpoints_saved, damage, events, progress, start, train_here

from tests.method_rows import KeepRow
from trainer.contract.checkpoint import find_newest_checkpoint
from trainer.contract.events import Metrics, Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import LoraSettings, MemoryPlan, MethodName, Quantization

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

PREFERENCES: list[MethodName] = ["dpo", "orpo", "kto", "simpo"]
COMPARED = {"loss", "rewards/chosen", "logps/chosen"}


@pytest.fixture(scope="module", autouse=True)
def _silence() -> None:
    """As `trainer.environment` has it: two of TRL's trainers warn that they are experimental."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[MethodName, RunDirectory]:
    """One run of each method, of a supervised one too: several micro-batches in a step, and a validation file."""
    root = tmp_path_factory.mktemp("runs")
    return {method: train_here(make_preference_run(root / method, preference_spec(base, method))) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_every_step_is_what_the_library_alone_computes_on_the_same_batch(
    method: MethodName, runs: dict[MethodName, RunDirectory], tmp_path: Path, keep_row: KeepRow
) -> None:
    """Loss, gradient and what is measured; also of later steps, where the model is not the reference any more."""
    plain = train_plainly(runs[method], tmp_path)
    steps = progress(runs[method])[: len(plain)]
    assert len(plain) == 4
    for step, logs in zip(steps, plain, strict=True):
        figures = step.metrics.model_dump(exclude_none=True) | {"loss": step.metrics.train_loss}
        shared = figures.keys() & logs.keys()
        assert shared >= (COMPARED if method in PREFERENCES else {"loss"})
        assert {name: figures[name] for name in shared} == pytest.approx(
            {name: logs[name] for name in shared}, rel=1e-4, abs=1e-5
        )
        assert step.grad_norm == pytest.approx(logs["grad_norm"], rel=1e-4)
    error = abs(steps[0].metrics.train_loss - plain[0]["loss"])
    keep_row(method, "lora", trains=f"{len(progress(runs[method]))} steps", first_step_loss=f"{error:.0e} apart")


@pytest.mark.parametrize("method", PREFERENCES)
def test_held_out_choices_come_out_as_they_were_made(
    method: MethodName, runs: dict[MethodName, RunDirectory], keep_row: KeepRow
) -> None:
    first, *_, last = (event.metrics for event in checkpoints_saved(runs[method]) if event.epoch is not None)
    margins = [metrics.full_valid_rewards_margins for metrics in (first, last)]
    assert all(margin is not None and margin > 0 for margin in margins)
    assert margins[1] > margins[0]  # type: ignore[operator]
    assert last.full_valid_loss < first.full_valid_loss  # type: ignore[operator]
    assert last.full_valid_mean_token_accuracy == pytest.approx(1.0)
    effect = f"{last.full_valid_mean_token_accuracy:.0%} of choices right, margin {margins[0]:.2f} to {margins[1]:.2f}"
    keep_row(method, "lora", effect=effect)


def test_supervised_training_lowers_the_loss_on_held_out_examples(
    runs: dict[MethodName, RunDirectory], keep_row: KeepRow
) -> None:
    first, *_, last = (event.metrics for event in checkpoints_saved(runs["supervised"]) if event.epoch is not None)
    assert first.full_valid_loss is not None
    assert last.full_valid_loss is not None
    assert last.full_valid_loss < first.full_valid_loss
    keep_row("supervised", "lora", effect=f"loss {first.full_valid_loss:.2f} to {last.full_valid_loss:.2f}")


@pytest.mark.parametrize("method", PREFERENCES)
def test_a_run_publishes_a_plain_adapter_and_nothing_of_a_reference(
    method: MethodName, runs: dict[MethodName, RunDirectory]
) -> None:
    from safetensors.numpy import load_file

    assert isinstance(events(runs[method])[-1], Succeeded)
    names = load_file(runs[method].adapter / "adapter_model.safetensors")
    plain = load_file(runs["supervised"].adapter / "adapter_model.safetensors")
    assert {name: array.shape for name, array in names.items()} == {name: a.shape for name, a in plain.items()}


def test_after_supervised_training_the_reference_is_the_tuned_model_not_the_base(
    base: Path, runs: dict[MethodName, RunDirectory], tmp_path: Path
) -> None:
    parent = runs["supervised"].adapter
    run = train_here(make_preference_run(tmp_path / "run", preference_spec(base, "dpo", start_from=parent)))
    kept = np.fromfile(run.reference / "training.float32", dtype=np.float32)
    assert kept == pytest.approx(answers_scored(run, base, parent), rel=1e-5)
    assert kept != pytest.approx(answers_scored(run, base, None), rel=1e-2)
    first = progress(run)[0].metrics
    assert [first.rewards_chosen, first.rewards_rejected] == pytest.approx([0.0, 0.0], abs=1e-5)
    plain = train_plainly(run, tmp_path / "plain")
    assert [step.metrics.train_loss for step in progress(run)[:4]] == pytest.approx(
        [logs["loss"] for logs in plain], rel=1e-4
    )


def test_a_run_that_was_killed_goes_on_bit_by_bit_with_the_same_reference(
    base: Path, runs: dict[MethodName, RunDirectory], tmp_path: Path
) -> None:
    spec = preference_spec(base, "dpo", start_from=runs["supervised"].adapter, checkpoint_every_steps=3)
    whole = train_here(make_preference_run(tmp_path / "whole", spec))
    killed = make_preference_run(tmp_path / "killed", spec)
    process = start(killed)
    try:
        wait_for_step(killed, 5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    newest = find_newest_checkpoint(killed.checkpoints)
    assert newest is not None
    resumed = make_preference_run(tmp_path / "resumed", spec.model_copy(update={"resume_from": newest, "attempt": 2}))
    train_here(resumed)
    facts = {event.step: (event.metrics, event.grad_norm) for event in progress(whole)}
    assert [event.step for event in progress(resumed)][-1] == 8
    assert all((event.metrics, event.grad_norm) == facts[event.step] for event in progress(resumed))
    for name in ("adapter/adapter_model.safetensors", "reference/training.float32"):
        assert (resumed.root / name).read_bytes() == (whole.root / name).read_bytes()
    same = [(run.reference / "training.float32").stat().st_ino for run in (killed, resumed)]
    assert same[0] == same[1]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_reference_is_computed_again_from_the_model_before_the_first_step(
    base: Path, runs: dict[MethodName, RunDirectory], tmp_path: Path, fault: str
) -> None:
    former = runs["kto"]
    kept = (former.reference / "mismatched.float32").read_bytes()
    spec = preference_spec(base, "kto", resume_from=former.checkpoint(4), attempt=2)
    damage(former.reference / "mismatched.float32", fault)
    resumed = make_preference_run(tmp_path / "resumed", spec)
    try:
        train_here(resumed)
    finally:
        (former.reference / "mismatched.float32").write_bytes(kept)
    assert (resumed.reference / "mismatched.float32").read_bytes() == kept
    assert metrics_of(resumed) == metrics_of(former)[4:]


def test_dropout_that_is_asked_for_is_trained_with_and_the_reference_is_without(
    base: Path, runs: dict[MethodName, RunDirectory], tmp_path: Path
) -> None:
    """TRL switches it off where nobody asks. The first step's loss is without: an adapter begins as nothing."""
    lora = LoraSettings(rank=4, alpha=8, dropout=0.5, target_modules="all-linear")
    run = train_here(make_preference_run(tmp_path / "run", preference_spec(base, "kto", lora=lora)))
    found, plain = ([metrics.train_loss for metrics in metrics_of(each)] for each in (run, runs["kto"]))
    assert found[0] == pytest.approx(plain[0], rel=1e-5)
    assert all(abs(one - other) > 1e-3 for one, other in zip(found[2:], plain[2:], strict=True))
    for name in ("training.float32", "mismatched.float32"):
        assert (run.reference / name).read_bytes() == (runs["kto"].reference / name).read_bytes()


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("method", [*PREFERENCES, "continued_pretraining"])
def test_on_a_quantised_base_every_step_is_what_the_library_alone_computes_on_it(
    base: Path, tmp_path: Path, method: MethodName, quantization: Quantization
) -> None:
    memory = MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=quantization)
    steps = ALL_METHODS[method].model_copy(update={"n_epochs": 1})
    run = train_here(make_preference_run(tmp_path / "run", preference_spec(base, method, memory=memory, method=steps)))
    plain = train_plainly(run, tmp_path / "plain")
    first, *_, last = (metrics.valid_loss for metrics in metrics_of(run))
    assert first is not None
    assert last is not None
    assert last < first
    assert [metrics.train_loss for metrics in metrics_of(run)] == pytest.approx(
        [logs["loss"] for logs in plain], rel=1e-3
    )
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    assert golden.drift is not None
    assert golden.drift.of_base > 0


def metrics_of(run: RunDirectory) -> list[Metrics]:
    return [event.metrics for event in progress(run)]


def answers_scored(run: RunDirectory, base: Path, adapter: Path | None) -> list[float]:
    """The log-probabilities of both answers of each pair, the long way: one at a time, all logits, no padding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from trainer.dataset import tokenize_files
    from trainer.tokenizer import load_chat_tokenizer

    spec = run.read_spec()
    examples, _ = tokenize_files(run, load_chat_tokenizer(spec.base_model), method="dpo", context_length_tokens=256)
    assert len(examples) == N_EXAMPLES
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    scored = []
    for sequence in (one for number in range(N_EXAMPLES) for one in examples.sequences(number)):
        ids_L = torch.tensor(sequence.input_ids_L, dtype=torch.long)
        with torch.no_grad():
            logps = model(input_ids=ids_L[None]).logits[0, :-1].log_softmax(-1).gather(1, ids_L[1:, None])[:, 0]
        scored.append(logps[torch.from_numpy(sequence.trained_L[1:].copy())].sum().item())
    return scored


def wait_for_step(run: RunDirectory, step: int) -> None:
    deadline = time.monotonic() + 100
    while not any(event.step >= step for event in progress(run)):
        assert time.monotonic() < deadline, run.log.read_text()
        time.sleep(0.002)
