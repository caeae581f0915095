"""The real trainer, as a process, on a tiny random base model."""

import json
import math
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from trainer_runs import checkpoints_saved, events, finish, make_run, make_spec, progress, start

from trainer.contract.checkpoint import find_newest_checkpoint, is_complete
from trainer.contract.events import Failed, FailureCode, Interrupted, Started, Succeeded
from trainer.contract.run_directory import RunDirectory

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

N_EXAMPLES, BATCH, EPOCHS = 26, 4, 4
TOTAL_STEPS = EPOCHS * math.ceil(N_EXAMPLES / BATCH)


def adapter_bytes(run: RunDirectory) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def facts(run: RunDirectory) -> dict[int, tuple[Any, ...]]:
    """What each step reports, without its times."""
    return {e.step: (e.metrics, e.trained_tokens, e.learning_rate, e.grad_norm) for e in progress(run)}


@pytest.fixture(scope="session")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run with dropout, validation and a dataset that the batch size does not divide; never interrupted."""
    run = make_run(tmp_path_factory.mktemp("whole") / "run", make_spec(base), n_examples=N_EXAMPLES, n_validation=9)
    assert finish(run) == 0, run.log.read_text()
    return run


def another(whole: RunDirectory, base: Path, root: Path, **overrides: Any) -> RunDirectory:
    return make_run(root, make_spec(base, **overrides), n_examples=N_EXAMPLES, n_validation=9)


def wait_for_step(run: RunDirectory, step: int) -> None:
    deadline = time.monotonic() + 60
    while not any(event.step >= step for event in progress(run)):
        assert time.monotonic() < deadline, run.log.read_text()
        time.sleep(0.002)


def test_it_learns_in_exactly_the_promised_steps(whole: RunDirectory) -> None:
    steps = progress(whole)
    assert [event.step for event in steps] == list(range(1, TOTAL_STEPS + 1))
    assert {event.total_steps for event in steps} == {TOTAL_STEPS}
    assert steps[-1].metrics.train_loss < 0.95 * steps[0].metrics.train_loss
    assert all(0 <= event.metrics.train_mean_token_accuracy <= 1 for event in steps)
    assert all(event.grad_norm > 0 and event.learning_rate > 0 for event in steps)


def test_the_first_loss_is_the_mean_over_the_trained_tokens_of_the_batch(base: Path, whole: RunDirectory) -> None:
    """Before the first update a LoRA changes nothing, so the base model alone must give the same number."""
    from trainer.order import StepOrder

    spec = whole.read_spec()
    training, _ = tokenized(whole)
    batch = [training[i] for i in StepOrder(N_EXAMPLES, BATCH, EPOCHS, spec.seed).examples_of(1)]
    loss, accuracy = mean_over_tokens(base, batch)
    first = progress(whole)[0]
    assert first.metrics.train_loss == pytest.approx(loss, rel=1e-5)
    assert first.metrics.train_mean_token_accuracy == pytest.approx(accuracy)
    assert first.trained_tokens == sum(len(example.input_ids_L) for example in batch)


def test_a_run_that_starts_from_an_adapter_begins_where_that_one_ended(
    base: Path, whole: RunDirectory, tmp_path: Path
) -> None:
    from trainer.order import StepOrder

    lora = whole.read_spec().lora.model_copy(update={"dropout": 0.0})
    run = another(whole, base, tmp_path / "run", lora=lora, start_from=whole.adapter)
    assert finish(run) == 0, run.log.read_text()

    training, _ = tokenized(whole)
    spec = run.read_spec()
    batch = [training[i] for i in StepOrder(N_EXAMPLES, BATCH, EPOCHS, spec.seed).examples_of(1)]
    loss, _ = mean_over_tokens(base, batch, adapter=whole.adapter)
    assert progress(run)[0].metrics.train_loss == pytest.approx(loss, rel=1e-5)
    assert progress(run)[-1].metrics.train_loss < progress(whole)[-1].metrics.train_loss
    assert len(progress(run)) == TOTAL_STEPS


def test_an_adapter_of_another_shape_is_no_start(base: Path, whole: RunDirectory, tmp_path: Path) -> None:
    lora = whole.read_spec().lora
    run = another(whole, base, tmp_path / "run", lora=lora.model_copy(update={"rank": 2 * lora.rank}))
    run.write_spec(run.read_spec().model_copy(update={"start_from": whole.adapter}))
    assert finish(run) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    assert "does not fit" in last.message


def test_the_full_validation_loss_equals_one_computed_one_example_at_a_time(base: Path, whole: RunDirectory) -> None:
    _, validation = tokenized(whole)
    loss, accuracy = mean_over_tokens(base, validation, adapter=whole.adapter)
    last = progress(whole)[-1].metrics
    assert last.full_valid_loss == pytest.approx(loss, rel=1e-5)
    assert last.full_valid_mean_token_accuracy == pytest.approx(accuracy)


def tokenized(run: RunDirectory) -> Any:
    from trainer.dataset import tokenize_files
    from trainer.tokenizer import load_chat_tokenizer

    spec = run.read_spec()
    chat = load_chat_tokenizer(spec.base_model)
    return tokenize_files(run, chat, context_length_tokens=spec.context_length_tokens)


def mean_over_tokens(base: Path, examples: list[Any], adapter: Path | None = None) -> tuple[float, float]:
    """Loss and accuracy the long way: one example at a time, all logits, no padding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    loss, right, n = 0.0, 0, 0
    for example in examples:
        ids = torch.tensor(example.input_ids_L, dtype=torch.long)
        with torch.no_grad():
            log_probabilities = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
        for position, is_trained in enumerate(example.trained_L[1:]):
            if is_trained:
                target = ids[position + 1]
                loss -= log_probabilities[position, target].item()
                right += int(log_probabilities[position].argmax() == target)
                n += 1
    return loss / n, right / n


def test_validation_is_on_a_part_now_and_then_and_on_all_at_each_epochs_end(whole: RunDirectory) -> None:
    steps = progress(whole)
    full = [event.step for event in steps if event.metrics.full_valid_loss is not None]
    assert full == [7, 14, 21, 28]
    part = [event.step for event in steps if event.metrics.valid_loss is not None]
    assert part == list(range(2, 29, 2))
    assert len({event.metrics.valid_loss for event in steps if event.metrics.valid_loss}) == len(part)


def test_the_last_three_epochs_are_kept_and_served_from_their_checkpoints(whole: RunDirectory) -> None:
    assert [(event.step, event.epoch) for event in checkpoints_saved(whole)] == [
        (5, None), (7, 1), (10, None), (14, 2), (15, None), (20, None), (21, 3), (25, None), (28, 4),
    ]  # fmt: skip
    kept = sorted(whole.checkpoints.iterdir())
    assert [path.name for path in kept] == ["step_000014", "step_000021", "step_000028"]
    assert all(is_complete(path) for path in kept)
    served = {path.name: (path / "adapter" / "adapter_model.safetensors").read_bytes() for path in kept}
    assert served["step_000028"] == adapter_bytes(whole)
    assert len(set(served.values())) == 3


def test_what_is_published_holds_no_path_and_no_pickle(base: Path, whole: RunDirectory) -> None:
    names = ["adapter_config.json", "adapter_model.safetensors", "golden_samples.json", "reproduction.json"]
    assert sorted(path.name for path in whole.adapter.iterdir()) == names
    config = json.loads((whole.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert str(base.parent) not in json.dumps(config)
    assert config["peft_type"] == "LORA"
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 8, "CAUSAL_LM")
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


def test_the_log_holds_no_training_text_and_no_noise(whole: RunDirectory) -> None:
    log = whole.log.read_text()
    assert "the answer" not in log
    assert "gemm_4bit" not in log
    assert "%|" not in log


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
    whole: RunDirectory, base: Path, tmp_path: Path
) -> None:
    again = another(whole, base, tmp_path / "again")
    assert finish(again) == 0
    assert adapter_bytes(again) == adapter_bytes(whole)
    assert facts(again) == facts(whole)
    other = another(whole, base, tmp_path / "other", seed=8, method={"n_epochs": 1})
    assert finish(other) == 0
    assert progress(other)[0].metrics != progress(whole)[0].metrics


def test_a_run_that_is_killed_and_resumed_ends_as_if_it_had_not_been(
    whole: RunDirectory, base: Path, tmp_path: Path
) -> None:
    first = another(whole, base, tmp_path / "1")
    process = start(first)
    wait_for_step(first, 12)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not first.adapter.exists()
    checkpoint = find_newest_checkpoint(first.checkpoints)
    assert checkpoint is not None

    second = another(whole, base, tmp_path / "2", attempt=2, resume_from=checkpoint)
    assert finish(second) == 0, second.log.read_text()
    resumed = facts(second)
    assert min(resumed) == int(checkpoint.name.removeprefix("step_")) + 1
    assert resumed == {step: fact for step, fact in facts(whole).items() if step in resumed}
    assert adapter_bytes(second) == adapter_bytes(whole)


@pytest.mark.parametrize("how", ["signal", "file"])
def test_a_run_that_is_stopped_saves_its_last_step_at_once_and_goes_on_from_it(
    whole: RunDirectory, base: Path, tmp_path: Path, how: str
) -> None:
    first = another(whole, base, tmp_path / "1", checkpoint_every_steps=0)
    process = start(first)
    wait_for_step(first, 4)
    asked_at = time.monotonic()
    if how == "signal":
        process.terminate()
    else:
        first.stop.touch()
    assert process.wait(timeout=10) == 143
    assert time.monotonic() - asked_at < 4
    last = events(first)[-1]
    assert isinstance(last, Interrupted)
    checkpoint = find_newest_checkpoint(first.checkpoints)
    assert checkpoint == first.checkpoint(last.step)

    second = another(whole, base, tmp_path / "2", attempt=2, resume_from=checkpoint)
    assert finish(second) == 0, second.log.read_text()
    assert facts(first) | facts(second) == facts(whole)
    assert not facts(first).keys() & facts(second).keys()
    assert adapter_bytes(second) == adapter_bytes(whole)


def test_a_run_is_stopped_at_once_while_it_still_loads(base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(base))
    process = start(run)
    while not run.events.exists():
        time.sleep(0.01)
    asked_at = time.monotonic()
    process.terminate()
    assert process.wait(timeout=10) == 143
    assert time.monotonic() - asked_at < 3
    assert [(event.type, event.step) for event in events(run) if isinstance(event, Interrupted)] == [("interrupted", 0)]


def test_a_run_whose_steps_are_all_done_only_publishes(whole: RunDirectory, base: Path, tmp_path: Path) -> None:
    run = another(whole, base, tmp_path / "run", attempt=2, resume_from=whole.checkpoint(TOTAL_STEPS))
    assert finish(run) == 0
    assert [type(event) for event in events(run)] == [Started, Succeeded]
    assert adapter_bytes(run) == adapter_bytes(whole)


def test_a_damaged_checkpoint_is_not_resumed_from(whole: RunDirectory, base: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(whole.checkpoint(14), tmp_path / "step_000014")
    (damaged / "state.pt").write_bytes(b"")
    run = another(whole, base, tmp_path / "run", attempt=2, resume_from=damaged)
    assert finish(run) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    assert last.code == FailureCode.INTERNAL_ERROR


def test_training_that_diverges_fails_and_publishes_nothing(base: Path, tmp_path: Path) -> None:
    spec = make_spec(base, method={"learning_rate": 1e30}, checkpoint_every_steps=1)
    run = make_run(tmp_path / "run", spec)
    assert finish(run) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    assert last.code == FailureCode.LOSS_NOT_FINITE
    assert f"step {len(progress(run)) + 1}" in last.message
    assert not run.adapter.exists()


def test_a_base_that_gives_no_numbers_fails_at_the_first_step(base: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(base, tmp_path / "base")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    run = make_run(tmp_path / "run", make_spec(broken))
    assert finish(run) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    assert last.message.startswith("The training loss is not a finite number at step 1")
    assert progress(run) == []


def test_a_base_without_weights_is_unavailable(base: Path, tmp_path: Path) -> None:
    empty = shutil.copytree(base, tmp_path / "base")
    (empty / "model.safetensors").unlink()
    run = make_run(tmp_path / "run", make_spec(empty))
    assert finish(run) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    assert last.code == FailureCode.BASE_MODEL_UNAVAILABLE
    assert str(tmp_path) not in last.message
