"""What a run takes, by every plan: measured with the real trainer, beside what is estimated."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from trainer_runs import (
    ROOT,
    assistant,
    events,
    finish,
    make_run,
    make_spec,
    make_wide_base,
    progress,
    user,
    write_lines,
)

from server.fine_tuning.estimates.memory import Load, estimate_memory
from server.fine_tuning.estimates.planner import leaner_plan
from trainer.contract.events import Failed, FailureCode, Measured, Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, LoraSettings, MemoryPlan

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

FASTEST = MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None)
CHECKPOINTING = FASTEST.model_copy(update={"gradient_checkpointing": True})
SMALLER = FASTEST.model_copy(update={"micro_batch_tokens": 128})
NF4 = FASTEST.model_copy(update={"quantization": "nf4"})
INT8 = FASTEST.model_copy(update={"quantization": "int8"})


@pytest.fixture(scope="module")
def train(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[MemoryPlan], RunDirectory]:
    """The same run by a plan, done once."""
    done: dict[str, RunDirectory] = {}

    def train(plan: MemoryPlan) -> RunDirectory:
        key = plan.model_dump_json()
        if key not in done:
            lora = LoraSettings(rank=4, alpha=8, dropout=0.1, target_modules="all-linear")
            spec = make_spec(base, memory=plan, method={"n_epochs": 1, "batch_size": 13}, lora=lora)
            run = make_run(tmp_path_factory.mktemp("plan") / "run", spec, n_validation=3)
            assert finish(run) == 0, run.log.read_text()
            done[key] = run
        return done[key]

    return train


def measured(run: RunDirectory) -> Measured:
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    assert last.measured is not None
    return last.measured


def weights(run: RunDirectory) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


Train = Callable[[MemoryPlan], RunDirectory]


def test_checkpointing_takes_less_memory_and_changes_nothing(train: Train) -> None:
    assert weights(train(CHECKPOINTING)) == weights(train(FASTEST))
    assert measured(train(CHECKPOINTING)).peak_tensor_bytes < 0.7 * measured(train(FASTEST)).peak_tensor_bytes


def test_smaller_micro_batches_take_less_memory_and_learn_the_same(train: Train) -> None:
    losses = [[step.metrics.train_loss for step in progress(train(plan))] for plan in (SMALLER, FASTEST)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # with dropout, whose draws depend on the layout
    assert measured(train(SMALLER)).peak_tensor_bytes < 0.7 * measured(train(FASTEST)).peak_tensor_bytes


def test_a_base_in_4_bits_is_trained_on(train: Train, base: Path) -> None:
    run = train(NF4)
    steps = progress(run)
    assert steps[-1].metrics.train_loss < steps[0].metrics.train_loss
    assert steps[0].metrics.train_loss == pytest.approx(progress(train(FASTEST))[0].metrics.train_loss, rel=0.05)
    adapter = load_file(run.adapter / "adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in adapter.values()} == {"float32"}
    shapes = {name: tensor.shape for name, tensor in adapter.items()}
    plain = load_file(train(FASTEST).adapter / "adapter_model.safetensors")
    assert shapes == {name: tensor.shape for name, tensor in plain.items()}


@pytest.mark.parametrize(
    "plan", [FASTEST, CHECKPOINTING, SMALLER, NF4, INT8], ids=["fastest", "checkpointing", "smaller", "nf4", "int8"]
)
def test_the_estimated_peak_is_near_the_measured_one(train: Train, base: Path, plan: MemoryPlan) -> None:
    from trainer.dataset import tokenize_files
    from trainer.layout import lay_out
    from trainer.model_shape import read_shape
    from trainer.order import StepOrder
    from trainer.tokenizer import load_chat_tokenizer

    run = train(plan)
    source = BaseModelSource(source=str(base))
    shape = read_shape(source)
    assert shape is not None
    file, _ = tokenize_files(run, load_chat_tokenizer(source), context_length_tokens=256)
    peaks = []
    for step in (1, 2):
        chosen = [file[index] for index in StepOrder(26, 13, 1, 7).examples_of(step)]
        for group in lay_out([len(each.input_ids_L) for each in chosen], budget_tokens=plan.micro_batch_tokens):
            tokens = len(group) * max(len(chosen[index].input_ids_L) for index in group)
            labelled = sum(chosen[index].n_trained_tokens for index in group)
            load = Load(
                shape, plan, "cpu", micro_batch_tokens=tokens, labelled_tokens=labelled, rank=4, has_dropout=True
            )
            peaks.append(estimate_memory(load).peak)
    assert max(peaks) == pytest.approx(measured(run).peak_tensor_bytes, rel=0.2)


def test_what_was_measured_is_plausible(train: Train) -> None:
    facts = measured(train(FASTEST))
    assert (facts.device, facts.n_steps) == ("cpu", 2)
    assert facts.n_tokens == progress(train(FASTEST))[-1].trained_tokens
    assert 0 < facts.step_seconds < facts.total_seconds
    assert 0 < facts.step_cpu_seconds < 1.2 * facts.step_seconds  # one thread, and what little else there is
    assert 0 < facts.start_seconds < facts.total_seconds
    assert facts.peak_rss_bytes > 10 * facts.peak_tensor_bytes > 0


FAMILIES = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 24},
    "gemma": {"head_dim": 24},
    "gemma3_text": {"head_dim": 24},
    "olmo2": {},
    "smollm3": {},
    "mixtral": {"num_local_experts": 8},
    "qwen2_moe": {"num_experts": 8, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 64},
    "qwen3_moe": {"num_experts": 8, "moe_intermediate_size": 48, "mlp_only_layers": [1], "head_dim": 24},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_trainable_parameters_and_the_shape_are_those_of_the_real_model(family: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from server.fine_tuning.estimates.layers import base_parameters, lora_parameters
    from trainer.adapter import attach_lora
    from trainer.model_shape import shape_of

    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "pad_token_id": 0,
    }
    config = AutoConfig.for_model(family, **sizes, **FAMILIES[family])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        whole = sum(parameter.numel() for parameter in model.parameters())
        attached = attach_lora(model, LoraSettings(rank=3, alpha=6, dropout=0.0, target_modules="all-linear"), seed=0)
    shape = shape_of({**config.to_dict(), "tie_word_embeddings": config.tie_word_embeddings})
    assert shape is not None
    assert (shape.experts is not None) == (family in ("mixtral", "qwen2_moe", "qwen3_moe"))
    trained = sum(parameter.numel() for parameter in attached.parameters() if parameter.requires_grad)
    assert lora_parameters(shape, rank=3) == trained
    assert base_parameters(shape) == pytest.approx(whole, rel=0.01)  # but for biases and further norms


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "gpt2"}, {"model_type": "llama"}, {"model_type": "llama", "hidden_size": "x"}]
)
def test_the_shape_of_what_is_not_known_is_not_guessed(config: dict[str, object]) -> None:
    from trainer.model_shape import shape_of

    assert shape_of(config) is None


@pytest.mark.torture
def test_a_run_that_is_refused_memory_says_so_and_a_leaner_plan_gets_through(tmp_path: Path) -> None:
    """A real limit of the kernel: less than the largest micro-batch needs, and more than a quarter of it."""
    base = make_wide_base(tmp_path / "base")
    limit_bytes = _resting_bytes() + 700_000_000
    plan: MemoryPlan | None = FASTEST
    ends = []
    while plan is not None and (not ends or ends[-1] != 0):
        run = _wide_run(base, tmp_path / str(len(ends)), plan)
        ends.append(_finish_limited(run, limit_bytes))
        last = events(run)[-1]
        if ends[-1] != 0:
            assert isinstance(last, Failed), run.log.read_text()
            assert last.code is FailureCode.OUT_OF_MEMORY
        plan = leaner_plan(plan, longest_tokens=250, batch_size=16, allow_4bit=False)
    assert len(ends) > 1
    assert ends[-1] == 0
    assert isinstance(last, Succeeded)


def _resting_bytes() -> int:
    """What the trainer's libraries take before there is a model."""
    probe = "import trainer.run; print(open('/proc/self/status').read())"
    answer = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) * 1024


def _wide_run(base: Path, root: Path, plan: MemoryPlan) -> RunDirectory:
    """One step of 16 examples as long as the context."""
    lora = LoraSettings(rank=4, alpha=8, dropout=0.0, target_modules="all-linear")
    run = make_run(root, make_spec(base, memory=plan, method={"n_epochs": 1, "batch_size": 16}, lora=lora))
    write_lines(run.training_file, ({"messages": [user("x"), assistant("a b c d " * 60)]} for _ in range(16)))
    return run


def _finish_limited(run: RunDirectory, limit_bytes: int) -> int:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

    with run.log.open("ab") as log:
        command = [sys.executable, "-m", "trainer", str(run.root)]
        return subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, preexec_fn=limit, check=False).returncode
