"""Runs of the real trainer, each a process of its own: one that is left alone, and one that is killed and goes on."""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.fine_tuning.estimates.memory import Device
from server.fine_tuning.estimates.planner import Fit, Room, Work, choose_plan, memory_of
from trainer.check import check
from trainer.contract.checkpoint import find_newest_checkpoint
from trainer.contract.events import CheckpointSaved, Measured, Progress, Succeeded, TrainerEvent
from trainer.contract.run_directory import RunDirectory, read_events
from trainer.contract.spec import (
    BaseModelSource,
    CheckSpec,
    LoraSettings,
    MemoryPlan,
    Quantization,
    SupervisedMethod,
    TrainingSpec,
)

ROOT = Path(__file__).resolve().parents[1]
RANK = 16
_TIMEOUT_S = 600.0
_WORDS = ("my", "order", "is", "late", "and", "the", "shop", "does", "not", "say", "when", "it", "comes")


@dataclass(frozen=True)
class Size:
    """How much is trained on."""

    context_tokens: int
    words: int  # of a prompt; an answer has a fourth of it
    batch_size: int
    n_steps: int


FULL_SIZE = Size(context_tokens=2048, words=700, batch_size=8, n_steps=10)
TINY_SIZE = Size(context_tokens=256, words=60, batch_size=2, n_steps=6)


@dataclass(frozen=True)
class Ended:
    events: Sequence[TrainerEvent]
    measured: Measured

    @property
    def steps(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]

    @property
    def last_loss(self) -> float:
        return self.steps[-1].metrics.train_loss


def write_examples(directory: Path, size: Size) -> None:
    directory.mkdir()
    with RunDirectory(directory).training_file.open("w") as file:
        for number in range(size.batch_size * size.n_steps):
            words = itertools.islice(itertools.cycle(_WORDS), number, number + size.words)
            answer = " ".join(["it is on its way"] * (size.words // 20))
            messages = [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")


def work_of(base: Path, data: Path, size: Size, quantization: Quantization | None) -> Work:
    """What the service would know of the job before it runs."""
    spec = CheckSpec(
        job_id="bench", base_model=BaseModelSource(source=str(base)), context_length_tokens=size.context_tokens
    )
    report = check(RunDirectory(data), spec)
    if report.base_shape is None or report.training is None:
        raise RuntimeError(f"the files cannot be used: {report.failure}")
    return Work(
        shape=report.base_shape,
        longest_tokens=report.training.longest_tokens,
        batch_size=size.batch_size,
        labelled_share=report.training.n_trained_tokens / report.training.n_tokens,
        rank=RANK,
        parameters=report.base_parameters,
        quantization=quantization,
    )


def plan_of(work: Work, room: Room) -> MemoryPlan:
    found = choose_plan(work, room)
    if not isinstance(found, Fit):
        raise RuntimeError(found.message())
    return found.plan


def estimated_bytes(work: Work, device: Device, plan: MemoryPlan) -> int:
    """Of tensors, as the peak is measured: without what the device keeps for itself."""
    memory = memory_of(work, device, plan)
    return memory.peak - memory.reserve


def spec_of(base: Path, size: Size, plan: MemoryPlan, device: Device, **overrides: Any) -> TrainingSpec:
    settings: dict[str, Any] = {
        "job_id": "bench",
        "attempt": 1,
        "base_model": BaseModelSource(source=str(base)),
        "method": SupervisedMethod(
            n_epochs=1,
            batch_size=size.batch_size,
            learning_rate=2e-4,
            warmup_ratio=0.05,
            weight_decay=0.01,
            max_grad_norm=1.0,
        ),
        "lora": LoraSettings(rank=RANK, alpha=2 * RANK, dropout=0.0, target_modules="all-linear"),
        "seed": 1,
        "context_length_tokens": size.context_tokens,
        "checkpoint_every_steps": size.n_steps // 2,
        "packing": device == "cuda",
        "threads": 1,
        "memory": plan,
    }
    return TrainingSpec.model_validate({**settings, **overrides})


def train(run: RunDirectory, spec: TrainingSpec, data: Path) -> Ended:
    """Raises: RuntimeError: the run did not succeed."""
    _wait(_start(run, spec, data))
    events = read_events(run.events).events
    last = events[-1] if events else None
    if not isinstance(last, Succeeded) or last.measured is None:
        raise RuntimeError(f"the run ended with {last}\n{run.log.read_text()[-3000:]}")
    return Ended(events, last.measured)


def train_killed(root: Path, spec: TrainingSpec, data: Path) -> Ended:
    """The same run, killed as soon as a checkpoint is whole, and gone on with by the next attempt."""
    first, second = RunDirectory(root.with_name(f"{root.name}-1")), RunDirectory(root.with_name(f"{root.name}-2"))
    process = _start(first, spec, data)
    until = time.monotonic() + _TIMEOUT_S
    while not _has_saved(first) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    checkpoint = find_newest_checkpoint(first.checkpoints)
    if checkpoint is None:
        raise RuntimeError(f"no checkpoint came\n{first.log.read_text()[-3000:]}")
    return train(second, spec.model_copy(update={"attempt": 2, "resume_from": checkpoint}), data)


def _has_saved(run: RunDirectory) -> bool:
    return any(isinstance(event, CheckpointSaved) for event in read_events(run.events).events)


def _start(run: RunDirectory, spec: TrainingSpec, data: Path) -> "subprocess.Popen[bytes]":
    run.root.mkdir()
    for file in (RunDirectory(data).training_file, RunDirectory(data).validation_file):
        if file.exists():
            (run.root / file.name).symlink_to(file)
    run.write_spec(spec)
    with run.log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "trainer", str(run.root)], cwd=ROOT, stdout=log, stderr=log)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_TIMEOUT_S)
    finally:
        process.kill()
