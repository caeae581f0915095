"""Estimates beside what is measured: the peak of live tensor bytes, and the time, of models made on the spot."""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.fine_tuning.estimates.duration import Amount, estimate_seconds, speed_of
from server.fine_tuning.estimates.planner import Work, memory_of
from trainer.contract.events import Measured, Succeeded
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory, read_events
from trainer.contract.spec import BaseModelSource, CheckSpec, LoraSettings, MemoryPlan, SupervisedMethod, TrainingSpec

ROOT = Path(__file__).resolve().parents[1]
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
_STEPS = 3
_CONTEXT_TOKENS = 1024
_MAKE = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
kind, sizes, directory = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
tokens = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}
config = AutoConfig.for_model(kind, max_position_embeddings=2048, **tokens, **sizes)
AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(directory)
"""


@dataclass(frozen=True)
class Base:
    kind: str  # transformers' model type
    hidden: int
    intermediate: int
    layers: int
    heads: tuple[int, int]  # of queries, of keys and values
    vocabulary: int
    tied: bool = True
    experts: Mapping[str, Any] = field(default_factory=dict)  # in the words of its kind

    def make(self, directory: Path) -> None:
        """A random model of this shape with the demo model's tokenizer."""
        sizes = {
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads[0],
            "num_key_value_heads": self.heads[1],
            "head_dim": 64,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            **self.experts,
        }
        subprocess.run([sys.executable, "-c", _MAKE, self.kind, json.dumps(sizes), str(directory)], check=True)
        for name in _TOKENIZER:
            shutil.copy(ROOT / "examples" / "demo_model" / name, directory)


BASES = {
    "4M Qwen 3": Base("qwen3", 256, 768, 4, (4, 2), 2048),
    "13M Llama": Base("llama", 320, 896, 8, (5, 5), 4096, tied=False),
    "40M Llama": Base("llama", 512, 1408, 8, (8, 2), 32000),
    "60M Qwen 3": Base("qwen3", 768, 2048, 10, (12, 4), 2048),
    "100M Qwen 2": Base("qwen2", 896, 2432, 11, (14, 2), 8000),
    "11M Mixtral": Base("mixtral", 256, 384, 4, (4, 2), 2048, experts={"num_local_experts": 8}),
    "13M Qwen 2 MoE": Base(
        "qwen2_moe",
        256,
        768,
        4,
        (4, 2),
        2048,
        experts={"num_experts": 16, "moe_intermediate_size": 192, "shared_expert_intermediate_size": 384},
    ),
    "9M Qwen 3 MoE": Base(
        "qwen3_moe",
        256,
        768,
        4,
        (4, 2),
        2048,
        experts={
            "num_experts": 16,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 192,
            "mlp_only_layers": [0],
        },
    ),
}


@dataclass(frozen=True)
class Configuration:
    base: str
    batch_size: int
    words: int  # of a prompt; an answer has a fourth of it
    budget_tokens: int = 4096
    checkpointing: bool = False
    nf4: bool = False
    rank: int = 16

    def __str__(self) -> str:
        more = [f"r{self.rank}"] if self.rank != 16 else []
        more += ["checkpointing"] * self.checkpointing + ["NF4"] * self.nf4
        more += [f"micro-batch {self.budget_tokens}"] * (self.budget_tokens != 4096)
        return f"{self.base}, batch {self.batch_size} of {self.words} words{''.join(', ' + item for item in more)}"


CONFIGURATIONS = (
    Configuration("4M Qwen 3", 16, 40),
    Configuration("4M Qwen 3", 4, 300),
    Configuration("4M Qwen 3", 16, 40, checkpointing=True),
    Configuration("4M Qwen 3", 16, 40, nf4=True),
    Configuration("4M Qwen 3", 16, 100, rank=64),
    Configuration("4M Qwen 3", 16, 40, budget_tokens=512),
    Configuration("13M Llama", 8, 60),
    Configuration("13M Llama", 8, 60, checkpointing=True),
    Configuration("40M Llama", 4, 60),
    Configuration("40M Llama", 4, 60, checkpointing=True),
    Configuration("60M Qwen 3", 4, 60),
    Configuration("60M Qwen 3", 4, 60, checkpointing=True),
    Configuration("60M Qwen 3", 4, 60, nf4=True),
    Configuration("100M Qwen 2", 2, 60, checkpointing=True),
    Configuration("11M Mixtral", 16, 40),
    Configuration("11M Mixtral", 16, 40, checkpointing=True),
    Configuration("13M Qwen 2 MoE", 16, 40),
    Configuration("13M Qwen 2 MoE", 16, 40, nf4=True),
    Configuration("9M Qwen 3 MoE", 16, 40),
    Configuration("9M Qwen 3 MoE", 16, 40, checkpointing=True),
)


def main() -> None:
    head = ("MB estimated", "measured", "ratio", "CPU s of steps", "measured", "ratio", "RSS MB", "let in with MB")
    print(f"{'':62}" + "".join(f"{word:>15}" for word in head))
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        for base, configurations in itertools.groupby(CONFIGURATIONS, key=lambda each: each.base):
            BASES[base].make(root / base)
            known: list[dict[str, Any]] = []
            for number, configuration in enumerate(configurations):
                report, measured = run(root / base, root / f"{base} {number}", configuration)
                print(f"{configuration!s:62}" + show(configuration, report, measured, known), flush=True)
                known.insert(0, entry(configuration, measured))


def run(base: Path, directory: Path, configuration: Configuration) -> tuple[CheckReport, Measured]:
    """What the trainer says of the files before, and of the run after."""
    directory.mkdir()
    run = RunDirectory(directory)
    words = ["my", "order", "is", "late", "and", "the", "shop", "does", "not", "say", "when", "it", "comes"]
    with run.training_file.open("w") as file:
        for index in range(configuration.batch_size * _STEPS):
            prompt = " ".join(words[(index + i) % len(words)] for i in range(configuration.words))
            messages = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": " ".join(["it is on its way"] * (configuration.words // 20))},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    source = BaseModelSource(source=str(base))
    run.write_check_spec(CheckSpec(job_id="bench", base_model=source, context_length_tokens=_CONTEXT_TOKENS))
    run.write_spec(_spec(source, configuration))
    for task in (["check"], []):
        with run.log.open("ab") as log:
            command = [sys.executable, "-m", "trainer", *task, str(directory)]
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)
    report, last = run.read_report(), read_events(run.events).events[-1]
    if report is None or not isinstance(last, Succeeded) or last.measured is None:
        raise RuntimeError("the run did not succeed")
    return report, last.measured


def show(configuration: Configuration, report: CheckReport, measured: Measured, known: list[dict[str, Any]]) -> str:
    if report.base_shape is None or report.training is None:
        raise RuntimeError("the trainer does not know the shape")
    work = Work(
        shape=report.base_shape,
        longest_tokens=report.training.longest_tokens,
        batch_size=configuration.batch_size,
        labelled_share=report.training.n_trained_tokens / report.training.n_tokens,
        rank=configuration.rank,
        parameters=report.base_parameters,
    )
    memory = memory_of(work, "cpu", _plan(configuration))
    speed = speed_of(known, device="cpu", threads=1, parameters=report.base_parameters or 0)
    amount = Amount(measured.n_steps, measured.n_tokens)
    seconds = estimate_seconds(amount, speed, _plan(configuration)) - speed.start_s  # starting is the disk's time
    guess = "?" if speed.source == "guessed" else ""
    return "".join(
        f"{column:>15}"
        for column in (
            f"{memory.peak / 1e6:.0f}",
            f"{measured.peak_tensor_bytes / 1e6:.0f}",
            f"{memory.peak / measured.peak_tensor_bytes:.2f}",
            f"{seconds:.1f}{guess}",
            f"{measured.step_cpu_seconds:.1f}",
            f"{seconds / measured.step_cpu_seconds:.2f}",
            f"{measured.peak_rss_bytes / 1e6:.0f}",
            f"{memory.needed / 1e6:.0f}",
        )
    )


def entry(configuration: Configuration, measured: Measured) -> dict[str, Any]:
    """As a job's report keeps it, but in seconds of the processor: other work on the machine does not count."""
    seconds = {"step_seconds": measured.step_cpu_seconds}
    return {**measured.model_dump(), **seconds, "plan": _plan(configuration).model_dump(), "threads": 1}


def _plan(configuration: Configuration) -> MemoryPlan:
    return MemoryPlan(
        micro_batch_tokens=configuration.budget_tokens,
        gradient_checkpointing=configuration.checkpointing,
        quantization="nf4" if configuration.nf4 else None,
    )


def _spec(source: BaseModelSource, configuration: Configuration) -> TrainingSpec:
    return TrainingSpec(
        job_id="bench",
        attempt=1,
        base_model=source,
        method=SupervisedMethod(
            n_epochs=1,
            batch_size=configuration.batch_size,
            learning_rate=1e-3,
            warmup_ratio=0.05,
            weight_decay=0.01,
            max_grad_norm=1.0,
        ),
        lora=LoraSettings(
            rank=configuration.rank, alpha=2 * configuration.rank, dropout=0.0, target_modules="all-linear"
        ),
        seed=1,
        context_length_tokens=_CONTEXT_TOKENS,
        checkpoint_every_steps=0,
        threads=1,
        memory=_plan(configuration),
    )
