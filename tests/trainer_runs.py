"""Run directories, data files and a tiny random base model, for tests of the trainer and of its contract."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trainer.contract.events import CheckpointSaved, Progress, TrainerEvent
from trainer.contract.run_directory import RunDirectory, read_events
from trainer.contract.spec import BaseModelSource, CheckSpec, LoraSettings, MemoryPlan, SupervisedMethod, TrainingSpec

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("assistant user system what is the answer to", "the answer is that") * 4
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKED_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>tools\\n' }}
    {%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation %}
        {{- m.content }}
        {%- for call in (m.tool_calls or []) %}{{- '<call>' + call.function | tojson + '</call>' }}{%- endfor %}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
PLAIN_TEMPLATE = MARKED_TEMPLATE.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")


def make_tokenizer(
    directory: Path,
    *,
    template: str | None = MARKED_TEMPLATE,
    eos: str = "<|im_end|>",
    texts: Iterable[str] = TEXTS,
    vocabulary: int = 320,
) -> Path:
    """Write a byte-level tokenizer whose pad token is its stop token, a trap for loss masks."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos,
        "pad_token": eos,
        "model_max_length": 256,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)
    return directory


def make_base(directory: Path, *, template: str = MARKED_TEMPLATE) -> Path:
    """Write a random Qwen3 of 40 thousand parameters, with its tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return make_tokenizer(directory, template=template)


def make_wide_base(directory: Path) -> Path:
    """6 million parameters; a token of a micro-batch takes 210 kB."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"vocab_size": 320, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "head_dim": 64}
    torch.manual_seed(0)
    config = Qwen3Config(**sizes, num_attention_heads=4, num_key_value_heads=2, bos_token_id=0, eos_token_id=2)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return make_tokenizer(directory)


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def example(index: int) -> dict[str, Any]:
    """Examples of many lengths, all different."""
    return {
        "messages": [user(f"what is {'the answer to ' * (index % 5)}{index}"), assistant(f"the answer is {index * 7}")]
    }


def write_lines(path: Path, values: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def make_spec(base: Path, **overrides: Any) -> TrainingSpec:
    method = {
        "n_epochs": 4,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "warmup_ratio": 0.05,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
    }
    values: dict[str, Any] = {
        "job_id": "ftjob-test",
        "attempt": 1,
        "base_model": BaseModelSource(source=str(base)),
        "method": SupervisedMethod(**{**method, **overrides.pop("method", {})}),
        "lora": LoraSettings(rank=4, alpha=8, dropout=0.1, target_modules="all-linear"),
        "seed": 7,
        "context_length_tokens": 256,
        "checkpoint_every_steps": 5,
        "threads": 1,
        "memory": MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None),
    }
    return TrainingSpec(**{**values, **overrides})


def make_run(
    root: Path, spec: TrainingSpec, *, n_examples: int = 26, n_validation: int = 0, start: int = 0
) -> RunDirectory:
    root.mkdir(parents=True)
    run = RunDirectory(root)
    write_lines(run.training_file, (example(start + index) for index in range(n_examples)))
    if n_validation:
        write_lines(run.validation_file, (example(1000 + index) for index in range(n_validation)))
    run.write_spec(spec)
    run.write_check_spec(
        CheckSpec(job_id=spec.job_id, base_model=spec.base_model, context_length_tokens=spec.context_length_tokens)
    )
    return run


def train_here(run: RunDirectory) -> RunDirectory:
    """Train inside the test, without the seconds that a process takes to import torch."""
    from trainer.interruption import Interruption
    from trainer.reporter import Reporter
    from trainer.run import run as train

    with Reporter(run.events) as reporter:
        train(run, run.read_spec(), reporter, Interruption(run.stop))
    return run


def start(run: RunDirectory, *, module: str = "trainer", **environment: str) -> subprocess.Popen[bytes]:
    with run.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(run.root)],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **environment},
        )


def finish(run: RunDirectory, *, module: str = "trainer", **environment: str) -> int:
    return start(run, module=module, **environment).wait(timeout=100)


def events(run: RunDirectory) -> list[TrainerEvent]:
    return read_events(run.events).events


def progress(run: RunDirectory) -> list[Progress]:
    return [event for event in events(run) if isinstance(event, Progress)]


def checkpoints_saved(run: RunDirectory) -> list[CheckpointSaved]:
    return [event for event in events(run) if isinstance(event, CheckpointSaved)]


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


FAULTS: dict[str, Callable[[bytes], bytes] | None] = {"cut": _cut, "flip": _flip, "delete": None}


def damage(path: Path, fault: str) -> None:
    """Leave others who have a link to the file what they have."""
    change = FAULTS[fault]
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(data))
