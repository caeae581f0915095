"""All weights of a model trained, saved as a model of its own, and held against the one in training."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from trainer_runs import checkpoints_saved, events, make_base, make_run, make_spec, progress, train_here

from trainer.contract.checkpoint import find_newest_checkpoint, list_checkpoints
from trainer.contract.events import Succeeded
from trainer.contract.full_model import FullModelReport
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import MemoryPlan, TrainingSpec
from trainer.failures import TrainerError
from trainer.interruption import Interruption, StopRequested
from trainer.reporter import Reporter

N_EXAMPLES, BATCH = 26, 4


def full(base: Path, **overrides: Any) -> TrainingSpec:
    method = {"n_epochs": 2, "learning_rate": 1e-3, "batch_size": BATCH, **overrides.pop("method", {})}
    return make_spec(base, lora=None, method=method, checkpoint_every_steps=3, **overrides)


def test_a_model_all_of_which_is_trained_cannot_be_quantised(tmp_path: Path) -> None:
    memory = MemoryPlan(micro_batch_tokens=1, gradient_checkpointing=False, quantization="nf4")
    with pytest.raises(ValidationError, match="only a base that stays as it is"):
        full(tmp_path, memory=memory)


@pytest.fixture(scope="module")
def stored_16(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as real ones are stored."""
    import torch
    from transformers import AutoModelForCausalLM

    directory = make_base(tmp_path_factory.mktemp("bf16") / "base")
    AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(directory)
    (directory / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.7, "do_sample": true}')
    return directory


@pytest.fixture(scope="module")
def whole(stored_16: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("whole") / "run", full(stored_16), n_examples=N_EXAMPLES, n_validation=5)
    return train_here(run)


def weights(run: RunDirectory) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def report(run: RunDirectory) -> FullModelReport:
    return FullModelReport.model_validate_json((run.model / "full_model_report.json").read_bytes())


def loss_of(model: Path, run: RunDirectory, step: int) -> float:
    """Transformers' own: the mean over the trained tokens of the batch, from its own labels."""
    import torch
    from transformers import AutoModelForCausalLM

    from trainer.dataset import tokenize_files
    from trainer.order import StepOrder
    from trainer.scoring import pad
    from trainer.tokenizer import load_chat_tokenizer

    spec = run.read_spec()
    training, _ = tokenize_files(run, load_chat_tokenizer(spec.base_model), context_length_tokens=256)
    order = StepOrder(N_EXAMPLES, BATCH, spec.method.n_epochs, spec.seed)
    reference: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        return float(reference(**pad([training[index] for index in order.examples_of(step)])).loss)


@pytest.mark.trainer
def test_the_first_loss_is_what_transformers_gives_for_the_batch(stored_16: Path, whole: RunDirectory) -> None:
    ours, theirs = progress(whole)[0].metrics.train_loss, loss_of(stored_16, whole, step=1)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.trainer
def test_every_weight_is_trained_and_it_learns(stored_16: Path, whole: RunDirectory) -> None:
    from safetensors.torch import load_file

    before, after = (load_file(path / "model.safetensors") for path in (stored_16, whole.model))
    assert before.keys() == after.keys()
    assert not [name for name, tensor in before.items() if tensor.equal(after[name])]
    steps = progress(whole)
    assert len(steps) == 2 * math.ceil(N_EXAMPLES / BATCH)
    assert steps[-1].metrics.full_valid_loss is not None
    assert steps[-1].metrics.train_loss < 0.95 * steps[0].metrics.train_loss


@pytest.mark.trainer
def test_the_result_is_a_whole_model_in_the_form_of_its_base(stored_16: Path, whole: RunDirectory) -> None:
    last = events(whole)[-1]
    assert isinstance(last, Succeeded)
    assert last.adapter == "model"
    assert not whole.adapter.exists()
    names = {path.name for path in whole.model.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "golden_samples.json"}
    of_base, of_model = (json.loads((path / "config.json").read_bytes()) for path in (stored_16, whole.model))
    assert of_model == of_base  # what TRL has set for itself is not in it
    assert json.loads((whole.model / "generation_config.json").read_bytes())["temperature"] == 0.7
    assert report(whole).dtype == "bfloat16"


@pytest.mark.trainer
def test_what_was_saved_says_once_it_is_loaded_what_the_samples_say(whole: RunDirectory) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(whole.model, dtype=torch.float32)
    golden = GoldenSamples.model_validate_json((whole.model / "golden_samples.json").read_bytes())
    for sample in golden.samples:
        tokens = [*sample.prompt_token_ids, *sample.sampled_token_ids]
        with torch.no_grad():
            rows = model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
        begin = len(sample.prompt_token_ids)
        scored = [float(rows[place - 1, tokens[place]]) for place in range(begin, len(tokens))]
        assert sample.adapter_logprobs == pytest.approx(scored, abs=1e-4)
    assert 0 < report(whole).logprob_gap < golden.tolerance < golden.base_gap
    assert report(whole).same_choice > 0.9


class _StopsAfter(Interruption):
    """Asks to stop once so many steps are reported."""

    def __init__(self, run: RunDirectory, step: int) -> None:
        super().__init__(run.stop)
        self._run, self._step = run, step

    def check(self) -> None:
        if len(progress(self._run)) >= self._step:
            raise StopRequested
        super().check()


@pytest.mark.trainer
@pytest.mark.parametrize("patience", [None, 1])
def test_a_run_that_was_stopped_ends_in_the_same_bytes(stored_16: Path, tmp_path: Path, patience: int | None) -> None:
    from trainer.run import run as train

    method = {"early_stopping_patience": patience, "learning_rate": 0.05 if patience else 1e-3, "n_epochs": 4}
    spec = full(stored_16, method=method)
    through = train_here(make_run(tmp_path / "through", spec, n_examples=N_EXAMPLES, n_validation=5))
    stopped = make_run(tmp_path / "stopped", spec, n_examples=N_EXAMPLES, n_validation=5)
    with Reporter(stopped.events) as reporter, pytest.raises(StopRequested):
        train(stopped, spec, reporter, _StopsAfter(stopped, step=9))
    newest = find_newest_checkpoint(stopped.checkpoints)
    assert newest is not None
    assert list_checkpoints(stopped.checkpoints) == [newest]  # they are large, and nobody is shown them
    assert not stopped.model.exists()
    resumed = make_run(
        tmp_path / "resumed",
        spec.model_copy(update={"attempt": 2, "resume_from": newest}),
        n_examples=N_EXAMPLES,
        n_validation=5,
    )
    train_here(resumed)
    assert weights(resumed) == weights(through)
    assert _facts(resumed) == _facts(through)[9:]
    ends = [event for run in (through, resumed) for event in events(run) if isinstance(event, Succeeded)]
    assert [end.best for end in ends] == [ends[0].best] * 2
    assert (ends[0].best is not None) == (patience is not None)


def _facts(run: RunDirectory) -> Sequence[Any]:
    return [(event.step, event.metrics, event.trained_tokens, event.grad_norm) for event in progress(run)]


@pytest.mark.trainer
def test_training_goes_on_from_the_published_model(whole: RunDirectory, stored_16: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "further", full(stored_16, start_from=whole.model), n_examples=N_EXAMPLES)
    train_here(run)
    assert progress(run)[0].metrics.train_loss == pytest.approx(loss_of(whole.model, run, step=1), rel=1e-5)
    assert len(checkpoints_saved(run)) > 1


@pytest.mark.trainer
def test_what_does_not_survive_saving_is_not_published(whole: RunDirectory, stored_16: Path, tmp_path: Path) -> None:
    """A number that the base's format cannot hold."""
    import torch
    from transformers import AutoModelForCausalLM

    half = make_base(tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(half, dtype=torch.float16).save_pretrained(half)
    run = make_run(tmp_path / "run", full(half), n_examples=N_EXAMPLES)
    before = make_run(tmp_path / "before", full(half, method={"n_epochs": 1}), n_examples=N_EXAMPLES)
    train_here(before)
    checkpoint = find_newest_checkpoint(before.checkpoints)
    assert checkpoint is not None
    _enlarge(checkpoint, "model.norm.weight")
    run.write_spec(run.read_spec().model_copy(update={"resume_from": checkpoint}))
    with pytest.raises(TrainerError):
        train_here(run)
    assert not run.model.exists()
    assert not list(run.root.glob(".staged-*"))


def _enlarge(checkpoint: Path, name: str) -> None:
    """Beyond what float16 holds, as training could in 32 bits."""
    from safetensors.torch import load_file, save_file

    from trainer.contract.checkpoint import MANIFEST, seal

    path = checkpoint / "trained" / "model.safetensors"
    weights = load_file(path)
    weights[name] = weights[name] * 1e5
    save_file(weights, path, metadata={"format": "pt"})
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint)


@pytest.mark.trainer
def test_the_same_run_gives_the_same_hash(whole: RunDirectory, stored_16: Path, tmp_path: Path) -> None:
    again = train_here(make_run(tmp_path / "again", full(stored_16), n_examples=N_EXAMPLES, n_validation=5))
    assert hashlib.sha256(weights(again)).digest() == hashlib.sha256(weights(whole)).digest()
