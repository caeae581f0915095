"""Training as it is on a GPU: bases of 8B in bfloat16 and in 4 bits through the real trainer, beside the estimates.

`python -m benchmarks gpu [PART …]` fits an H100 of 80 GB with 24 GB of disk, and ends within 8 minutes: a part that no
time is left for is named and left out, and can be asked for by name. With `--tiny` the same in two layers, on a machine
without a GPU: figures that say nothing, of a way that is then known to be whole.
"""

import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import gpu_quality
from benchmarks.gpu_bases import LLAMA, QWEN, Base
from benchmarks.gpu_runs import (
    FULL_SIZE,
    TINY_SIZE,
    Size,
    estimated_bytes,
    plan_of,
    spec_of,
    train,
    train_killed,
    work_of,
    write_examples,
)
from server.fine_tuning.estimates.memory import Device
from server.fine_tuning.estimates.planner import Room
from server.placement.machine import find_gpus, main_memory_bytes
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import Quantization

PARTS = ("llama", "qwen", "quality")
_END_S = 480.0  # after the start; nothing is begun that is likely to end later
_LIKELY_S = {"write": 40.0, "train": 80.0, "train, kill, go on": 170.0, "demo": 45.0}  # a guess
_SPARE_DISK_BYTES = 4_000_000_000
_GPU_SHARE = 0.95
_RESUMED_WITHIN = 0.01  # of the loss; a GPU does not add up in the same order each time
_PRECISIONS: tuple[Quantization | None, ...] = (None, "nf4")
_RESUMED = ((LLAMA.title, None), (QWEN.title, "nf4"))  # each precision once, each shape once


@dataclass
class Bench:
    """Where it runs and what has been found."""

    device: Device
    room: Room
    size: Size
    began: float = field(default_factory=time.monotonic)
    end_s: float = _END_S
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def do(self, name: str, kind: str, work: Callable[[], Mapping[str, Any]]) -> bool:
        """Do it and keep what it found, unless it is likely to end too late."""
        begun = time.monotonic()
        if begun - self.began + _LIKELY_S[kind] > self.end_s:
            self.left_out.append(name)
            return False
        self.keep({"what": name, **work(), "seconds": round(time.monotonic() - begun, 1)})
        return True

    def keep(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print(_line(row), flush=True)


def main(parts: Sequence[str] = PARTS, *, tiny: bool = False) -> None:
    gpus = find_gpus()
    if not gpus and not tiny:
        print("gpu: this machine has no GPU that answers; with --tiny the way is tried on a CPU")
        return
    device: Device = "cuda" if gpus else "cpu"
    memory = gpus.get(0) or 0 if gpus else main_memory_bytes()
    bench = Bench(device, Room(device, round(memory * _GPU_SHARE)), TINY_SIZE if tiny else FULL_SIZE)
    bench.end_s = math.inf if tiny else _END_S
    print(f"on {_machine(device)}{', tiny shapes' if tiny else ''}")
    with tempfile.TemporaryDirectory(prefix="tunesmith-gpu-") as directory:
        for part, base in (("llama", LLAMA), ("qwen", QWEN)):
            if part in parts:
                _measure_base(bench, Path(directory) / part, base, tiny=tiny)
        if "quality" in parts:
            amount = gpu_quality.TINY_AMOUNT if tiny else gpu_quality.FULL_AMOUNT
            _compare_quality(bench, Path(directory) / "quality", amount)
    if bench.left_out:
        print(f"left out: {', '.join(bench.left_out)}")
    found = {"machine": _machine(device), "tiny": tiny, "rows": bench.rows, "left_out": bench.left_out}
    print(json.dumps({**found, "seconds": round(time.monotonic() - bench.began, 1)}))


def _measure_base(bench: Bench, root: Path, base: Base, *, tiny: bool) -> None:
    """One base is on the disk at a time."""
    shape = base.tiny() if tiny else base
    root.mkdir()
    free_bytes = shutil.disk_usage(root).free
    if free_bytes < shape.disk_bytes + _SPARE_DISK_BYTES:
        bench.left_out.append(f"{base.title} (the disk has {free_bytes / 1e9:.0f} GB)")
        return
    try:
        if bench.do(f"{base.title}: write", "write", lambda: _written(shape, root, bench.size)):
            for quantization in _PRECISIONS:
                resumes = (base.title, quantization) in _RESUMED
                bench.do(
                    f"{base.title}, {_precision(bench, quantization)}",
                    "train, kill, go on" if resumes else "train",
                    partial(_trained, bench, root, quantization, resumes=resumes),
                )
    finally:
        shutil.rmtree(root)


def _precision(bench: Bench, quantization: Quantization | None) -> str:
    if quantization is not None:
        return quantization
    return "bfloat16" if bench.device == "cuda" else "float32"


def _written(shape: Base, root: Path, size: Size) -> dict[str, Any]:
    shape.make(root / "base")
    write_examples(root / "data", size)
    return {"GB": round(sum(file.stat().st_size for file in (root / "base").iterdir()) / 1e9, 3)}


def _trained(bench: Bench, root: Path, quantization: Quantization | None, *, resumes: bool) -> dict[str, Any]:
    base, data, name = root / "base", root / "data", quantization or "plain"
    work = work_of(base, data, bench.size, quantization)
    plan = plan_of(work, bench.room)
    spec = spec_of(base, bench.size, plan, bench.device)
    ended = train(RunDirectory(root / name), spec, data)
    measured = ended.measured
    estimated = estimated_bytes(work, bench.device, plan)
    figures: dict[str, Any] = {
        "tokens/s": round(measured.n_tokens / measured.step_seconds, 1),
        "peak GB": round(measured.peak_tensor_bytes / 1e9, 3),
        "estimated GB": round(estimated / 1e9, 3),
        "estimated / peak": round(estimated / measured.peak_tensor_bytes, 3),
        "last loss": round(ended.last_loss, 4),
        "start s": round(measured.start_seconds, 1),
        "plan": plan.model_dump(exclude={"quantization"}),
    }
    if resumes:
        again = train_killed(root / f"{name}-killed", spec, data)
        apart = abs(again.last_loss / ended.last_loss - 1)
        same = again.steps[-1].step == ended.steps[-1].step and apart <= _RESUMED_WITHIN
        figures |= {"resumed at": again.steps[0].step, "loss apart": round(apart, 6), "resumed alike": same}
    return figures


def _compare_quality(bench: Bench, root: Path, amount: gpu_quality.Amount) -> None:
    root.mkdir()
    data = root / "data"
    gpu_quality.write_task(data, amount)
    found: list[Mapping[str, Any]] = []
    for quantization in _PRECISIONS:
        where = root / (quantization or "plain")
        work = partial(gpu_quality.measure, where, data, amount, device=bench.device, quantization=quantization)
        if bench.do(f"demo task, {_precision(bench, quantization)}", "demo", work):
            found.append(bench.rows[-1])
    if len(found) == len(_PRECISIONS):
        plain, packed = found
        gaps = {name: round(packed[name] - plain[name], 4) for name in ("held_out_loss", "exact_match")}
        bench.keep({"what": "demo task, the gap of nf4", **gaps})


def _line(row: Mapping[str, Any]) -> str:
    figures = (f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
    return f"{row['what']:34} " + ", ".join(figure for figure in figures if not figure.startswith("what "))


def _machine(device: Device) -> str:
    import torch

    libraries = f"torch {torch.__version__}"
    if device == "cpu":
        return f"a CPU, {libraries}"
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader", "--id=0"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return f"{answer.stdout.strip()}, {libraries}"
