"""Every method with all weights trained, by the real libraries: what it computes, what it changes, how it goes on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_trl import train_plainly
from preference_runs import ALL_METHODS, make_preference_run, preference_spec
from trainer_runs import FAULTS, checkpoints_saved, damage, events, make_base, progress, train_here

from server.fine_tuning.estimates.planner import Work, memory_of
from server.fine_tuning.preferences import has_fused_head, labelled_share, sequences_per_example
from tests.method_rows import KeepRow
from trainer.contract.checkpoint import find_newest_checkpoint
from trainer.contract.events import Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BY_TOKENS, MethodName, TrainingSpec
from trainer.interruption import Interruption, StopRequested
from trainer.reporter import Reporter

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

METHODS = list(ALL_METHODS)
PREFERENCES: list[MethodName] = ["dpo", "orpo", "kto", "simpo"]
LEARNING_RATE = 1e-3
SMALL_STEP = 1e-5  # less than half of what bfloat16 tells apart in most of the weights, in all eight steps together
Train = Callable[[MethodName], RunDirectory]


@pytest.fixture(scope="module", autouse=True)
def _silence() -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"


@pytest.fixture(scope="module")
def stored_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as real ones are stored."""
    import torch
    from transformers import AutoModelForCausalLM

    directory = make_base(tmp_path_factory.mktemp("bf16") / "base")
    AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(directory)
    return directory


def full(base: Path, method: MethodName, *, learning_rate: float = LEARNING_RATE, **overrides: Any) -> TrainingSpec:
    steps = ALL_METHODS[method].model_copy(update={"learning_rate": learning_rate})
    return preference_spec(base, method, **{"lora": None, "method": steps, "checkpoint_every_steps": 3, **overrides})


@pytest.fixture(scope="module")
def train(stored_16: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """The run of a method, done once: eight steps of several micro-batches, and a validation file."""
    done: dict[MethodName, RunDirectory] = {}

    def train(method: MethodName) -> RunDirectory:
        if method not in done:
            root = tmp_path_factory.mktemp("full") / method
            done[method] = train_here(make_preference_run(root, full(stored_16, method)))
        return done[method]

    return train


@pytest.mark.parametrize("method", METHODS)
def test_every_step_is_what_the_library_alone_computes_with_a_second_model_as_reference(
    train: Train, method: MethodName, tmp_path: Path, keep_row: KeepRow
) -> None:
    steps, plain = progress(train(method)), train_plainly(train(method), tmp_path)
    assert len(plain) == 4
    for step, logs in zip(steps, plain, strict=False):
        figures = step.metrics.model_dump(exclude_none=True) | {"loss": step.metrics.train_loss}
        shared = figures.keys() & logs.keys()
        assert shared >= ({"loss", "rewards/chosen", "logps/chosen"} if method in PREFERENCES else {"loss"})
        assert {name: figures[name] for name in shared} == pytest.approx(
            {name: logs[name] for name in shared}, rel=1e-4, abs=1e-5
        )
        assert step.grad_norm == pytest.approx(logs["grad_norm"], rel=1e-4)
    error = abs(steps[0].metrics.train_loss - plain[0]["loss"])
    keep_row(method, "full", trains=f"{len(steps)} steps", first_step_loss=f"{error:.0e} apart")


@pytest.mark.parametrize("method", METHODS)
def test_what_is_held_out_comes_out_as_it_was_meant(train: Train, method: MethodName, keep_row: KeepRow) -> None:
    first, *_, last = (event.metrics for event in checkpoints_saved(train(method)) if event.epoch is not None)
    assert first.full_valid_loss is not None
    assert last.full_valid_loss is not None
    assert last.full_valid_loss < first.full_valid_loss
    effect = f"loss {first.full_valid_loss:.2f} to {last.full_valid_loss:.2f}"
    if method not in BY_TOKENS:
        margins = [metrics.full_valid_rewards_margins or 0.0 for metrics in (first, last)]
        assert 0 < margins[0] < margins[1]
        assert last.full_valid_mean_token_accuracy == pytest.approx(1.0)
        right = last.full_valid_mean_token_accuracy
        effect = f"{right:.0%} of choices right, margin {margins[0]:.2f} to {margins[1]:.2f}"
    keep_row(method, "full", effect=effect)


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_a_model_in_the_form_of_its_base_and_nothing_of_a_reference(
    train: Train, stored_16: Path, method: MethodName, keep_row: KeepRow
) -> None:
    """The same files as of a supervised run, one of which the real engine serves."""
    from safetensors.torch import load_file

    run = train(method)
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    assert last.adapter == "model"
    kinds = [
        {name: (tensor.shape, tensor.dtype) for name, tensor in load_file(path / "model.safetensors").items()}
        for path in (stored_16, run.model)
    ]
    assert kinds[0] == kinds[1]
    assert (run.model / "config.json").read_bytes() == (train("supervised").model / "config.json").read_bytes()
    golden = GoldenSamples.model_validate_json((run.model / "golden_samples.json").read_bytes())
    assert golden.base_gap > 0
    keep_row(method, "full", served="by an engine of its own")


@pytest.mark.parametrize("method", METHODS)
def test_the_estimated_peak_of_memory_is_near_the_measured_one(
    train: Train, stored_16: Path, method: MethodName
) -> None:
    from trainer.dataset import tokenize_files
    from trainer.model_shape import read_shape
    from trainer.tokenizer import load_chat_tokenizer

    spec = train(method).read_spec()
    shape = read_shape(spec.base_model)
    assert shape is not None
    file, _ = tokenize_files(
        train(method), load_chat_tokenizer(spec.base_model), method=method, context_length_tokens=256
    )
    lengths = [len(one.input_ids_L) for number in range(len(file)) for one in file.sequences(number)]
    labelled = sum(int(one.trained_L.sum()) for number in range(len(file)) for one in file.sequences(number))
    work = Work(
        shape=shape,
        longest_tokens=max(lengths) * sequences_per_example(method),
        batch_size=spec.method.batch_size,
        labelled_share=labelled_share(method, labelled / sum(lengths)),
        is_fused=has_fused_head(method),
        trains="full",
    )
    last = events(train(method))[-1]
    assert isinstance(last, Succeeded)
    assert last.measured is not None
    estimated = memory_of(work, "cpu", spec.memory)
    assert 0.9 * last.measured.peak_tensor_bytes < estimated.peak < 1.5 * last.measured.peak_tensor_bytes
    assert estimated.needed > 1.7 * last.measured.peak_tensor_bytes


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_of_a_tuned_model_is_that_model(
    train: Train, stored_16: Path, tmp_path: Path, method: MethodName
) -> None:
    """Supervised, then preferences, both of all weights; TRL alone takes the tuned model as its reference, too."""
    parent = train("supervised").model
    run = train_here(make_preference_run(tmp_path / "run", full(stored_16, method, start_from=parent)))
    kept, of_base = (np.fromfile(each.reference / "training.float32", np.float32) for each in (run, train(method)))
    assert kept != pytest.approx(of_base, rel=1e-3)
    first = progress(run)[0].metrics
    assert [first.rewards_chosen, first.rewards_rejected] == pytest.approx([0.0, 0.0], abs=1e-5)
    plain = train_plainly(run, tmp_path / "plain")
    assert [step.metrics.train_loss for step in progress(run)[:4]] == pytest.approx(
        [logs["loss"] for logs in plain], rel=1e-4
    )


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_model_that_scores_the_reference_has_the_output_head_that_a_gpu_scores_with(
    stored_16: Path, tmp_path: Path, kind: str
) -> None:
    """On a CPU the head is not used; asked for it, the model gives the same."""
    import torch

    from trainer.dataset import TokenizedExample
    from trainer.reference import compute_reference
    from trainer.run import load_model
    from trainer.scoring import pad

    spec = full(stored_16, "dpo") if kind == "full" else preference_spec(stored_16, "dpo")
    run = make_preference_run(tmp_path / "run", spec)
    sequence = TokenizedExample(np.arange(5, 25), np.arange(20) > 11)
    model, _ = load_model(spec, "cpu")
    found = compute_reference(run, spec, model, {"training": (1, lambda _: sequence)}, check=lambda: None)
    with torch.no_grad():
        fused = model(**pad([sequence]), use_cache=False, fused_lm_head=True).log_probs
    assert found["training"].tolist() == pytest.approx([float(fused.sum())], rel=1e-5)


class _StopsAfter(Interruption):
    """Asks to stop once so many steps are reported."""

    def __init__(self, run: RunDirectory, step: int) -> None:
        super().__init__(run.stop)
        self._run, self._step = run, step

    def check(self) -> None:
        if len(progress(self._run)) >= self._step:
            raise StopRequested
        super().check()


SEVERAL = ["dpo", "continued_pretraining"]


@pytest.mark.parametrize(
    "method",
    [pytest.param(method, marks=[] if method in SEVERAL else [pytest.mark.torture]) for method in METHODS],
)
def test_a_run_that_was_stopped_ends_in_the_same_bytes_with_the_same_reference(
    train: Train, stored_16: Path, tmp_path: Path, method: MethodName
) -> None:
    from trainer.run import run as run_trainer

    stopped = make_preference_run(tmp_path / "stopped", full(stored_16, method))
    with Reporter(stopped.events) as reporter, pytest.raises(StopRequested):
        run_trainer(stopped, stopped.read_spec(), reporter, _StopsAfter(stopped, step=5))
    newest = find_newest_checkpoint(stopped.checkpoints)
    resumed = make_preference_run(tmp_path / "resumed", full(stored_16, method, attempt=2, resume_from=newest))
    train_here(resumed)
    assert [event.step for event in progress(resumed)] == [6, 7, 8]
    assert facts(resumed) == facts(train(method))[5:]
    assert weights(resumed) == weights(train(method))
    for file in train(method).reference.glob("*"):
        assert (resumed.reference / file.name).stat().st_ino == (stopped.reference / file.name).stat().st_ino


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_reference_is_computed_again_by_the_model_before_its_first_step(
    train: Train, stored_16: Path, tmp_path: Path, fault: str
) -> None:
    whole = train("dpo")
    stopped = train_here(make_preference_run(tmp_path / "stopped", full(stored_16, "dpo")))
    damage(stopped.reference / "training.float32", fault)
    newest = find_newest_checkpoint(stopped.checkpoints)
    resumed = make_preference_run(tmp_path / "resumed", full(stored_16, "dpo", attempt=2, resume_from=newest))
    train_here(resumed)
    name = "training.float32"
    assert (resumed.reference / name).read_bytes() == (whole.reference / name).read_bytes()
    assert weights(resumed) == weights(whole)


def test_what_was_learnt_in_steps_too_small_for_the_format_is_in_the_saved_model(
    stored_16: Path, tmp_path: Path
) -> None:
    """Rounded to the nearest, most of it would be lost."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from trainer.weights import set_weights

    run = train_here(make_preference_run(tmp_path / "run", full(stored_16, "dpo", learning_rate=SMALL_STEP)))
    newest = find_newest_checkpoint(run.checkpoints)
    assert newest is not None
    trained = load_file(newest / "trained" / "model.safetensors")
    saved = load_file(run.model / "model.safetensors")
    model: Any = AutoModelForCausalLM.from_pretrained(stored_16, dtype=torch.float32)
    margins = []
    of_base = margin(model, run)
    for found in (trained, saved, {name: tensor.bfloat16() for name, tensor in trained.items()}):
        set_weights(model, found)
        margins.append(margin(model, run) - of_base)
    assert margins[1] == pytest.approx(margins[0], rel=0.1)
    assert margins[2] < 0.7 * margins[0]


def margin(model: Any, run: RunDirectory) -> float:
    """How much likelier the preferred answers of the training file are, in nats, one sequence at a time."""
    import torch

    from trainer.dataset import tokenize_files
    from trainer.tokenizer import load_chat_tokenizer

    examples, _ = tokenize_files(
        run, load_chat_tokenizer(run.read_spec().base_model), method="dpo", context_length_tokens=256
    )
    scores = []
    for sequence in (one for number in range(len(examples)) for one in examples.sequences(number)):
        ids_L = torch.tensor(sequence.input_ids_L, dtype=torch.long)
        with torch.no_grad():
            logps_L = model(input_ids=ids_L[None]).logits[0, :-1].log_softmax(-1).gather(1, ids_L[1:, None])[:, 0]
        scores.append(float(logps_L[torch.from_numpy(sequence.trained_L[1:].copy())].sum()))
    return sum(scores[::2]) - sum(scores[1::2])


def weights(run: RunDirectory) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def facts(run: RunDirectory) -> list[Any]:
    return [(event.step, event.metrics, event.trained_tokens, event.grad_norm) for event in progress(run)]
