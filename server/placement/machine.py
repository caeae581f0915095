"""A look at this machine's memory, and how it is placed by the settings."""

import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.base_shapes import place_of
from inference.tensor_file import TensorFileDamaged, read_header
from server.placement.facts import Patience, Policy
from server.placement.sizing import GIB, Machine, Placement, Wishes, place_on_cpu, place_on_gpus
from server.settings import Settings, SettingsInvalid

_ENGINE_PROCESS_BYTES = 3 * GIB // 2  # of main memory: the interpreter with torch and vLLM
_ENGINE_WIDENING = 2  # bfloat16 weights are served in float32 on a CPU
_NF4_BYTES = 0.5 + 4 / 64  # of a weight: 4 bits, and a 32-bit scale for each 64
_UNQUANTISED_BYTES = 2  # of the other weights beside quantised ones
_PROBE_TIMEOUT_S = 10.0
_BFLOAT16_SINCE = 8.0  # of what CUDA calls the compute capability: Ampere


@dataclass(frozen=True)
class Served:
    """A base model as its engine is to hold it."""

    name: str
    source: str
    is_quantised: bool = False  # the engine makes NF4 of its linear layers


def find_placement(settings: Settings, *, has_gpu: bool, base_models: Sequence[Served]) -> Placement:
    """`base_models`: in their order.

    Raises:
        SettingsInvalid: a GPU is named that is not there.
    """
    machine = Machine(has_gpu, main_memory_bytes(), find_gpus() if has_gpu else {})
    wishes = _wishes(settings)
    _check_gpus(settings, machine)
    if has_gpu:
        weights = {of.name: (nf4_bytes if of.is_quantised else weights_bytes)(of.source) for of in base_models}
        whole = {of.name: weights_bytes(of.source) for of in base_models if of.is_quantised}
        resources, sizes = place_on_gpus(machine, wishes, weights, whole)
    else:
        cache = settings.engine_kv_cache_gib
        engines = {of.name: engine_bytes(of.source, cache, is_quantised=of.is_quantised) for of in base_models}
        whole = {of.name: engine_bytes(of.source, cache) for of in base_models if of.is_quantised}
        resources, sizes = place_on_cpu(machine, wishes, engines, whole)
    give_way_s = min(Patience.give_way_s, settings.engine_wait_s / 2)
    patience = Patience(idle_s=settings.engine_idle_s, give_way_s=give_way_s)
    return Placement(wishes.policy, resources, patience, sizes, on_gpu=has_gpu)


def main_memory_bytes(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The machine's, or the container's where that has a limit."""
    (line,) = [line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:")]
    total = int(line.split()[1]) * 1024
    try:
        text = limit.read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdecimal() else total


def engine_bytes(source: str, kv_cache_gib: int, *, is_quantised: bool = False) -> int:
    """What an engine on the CPU takes; the weights of a base that is not a directory here are not known."""
    weights = nf4_bytes(source) if is_quantised else weights_bytes(source) * _ENGINE_WIDENING
    return weights + kv_cache_gib * GIB + _ENGINE_PROCESS_BYTES


def weights_bytes(source: str) -> int:
    """0: they are not here."""
    return sum(file.stat().st_size for file in Path(source).glob("*.safetensors"))


def nf4_bytes(source: str) -> int:
    """Of the weights once an engine has made NF4 of the linear layers; 0: they are not here, or cannot be read."""
    try:
        headers = [read_header(path) for path in Path(source).glob("*.safetensors")]
    except (OSError, TensorFileDamaged):
        return 0
    sizes = ((name, tensor.shape) for header in headers for name, tensor in header.items())
    return math.ceil(sum(math.prod(shape) * _bytes_each(name, shape) for name, shape in sizes))


def _bytes_each(name: str, shape: Sequence[int]) -> float:
    is_linear = place_of(name) is not None and len(shape) == 2
    return _NF4_BYTES if is_linear else _UNQUANTISED_BYTES


def count_parameters(source: str) -> int | None:
    """Of a base model, by the headers of its files; None: they are not here, or cannot be read."""
    try:
        headers = [read_header(path) for path in Path(source).glob("*.safetensors")]
    except (OSError, TensorFileDamaged):
        return None
    return sum(math.prod(tensor.shape) for header in headers for tensor in header.values()) or None


def find_gpus() -> dict[int, int | None]:
    """The memory of every GPU by its index; none if they do not answer."""
    return {index: round(mebibytes) * 1024**2 for index, mebibytes in enumerate(_ask_gpus("memory.total"))}


def gpus_have_bfloat16() -> bool:
    """Whether all of them compute in it; so they are taken to if they do not answer."""
    return all(capability >= _BFLOAT16_SINCE for capability in _ask_gpus("compute_cap"))


def _ask_gpus(what: str) -> list[float]:
    """One number of each GPU; none if they do not answer."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True)
        return [float(line) for line in answer.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _check_gpus(settings: Settings, machine: Machine) -> None:
    if settings.gpu_policy != "separate" or not machine.gpu_bytes:
        return
    for name in ("engine_gpus", "trainer_gpus"):
        missing = [gpu for gpu in getattr(settings, name) if gpu not in machine.gpu_bytes]
        if missing:
            raise SettingsInvalid(f"TUNESMITH_{name.upper()}: this machine has no GPU {missing[0]}")


def _wishes(settings: Settings) -> Wishes:
    return Wishes(
        policy=Policy(settings.gpu_policy),
        slots=settings.max_running_jobs,
        engine_gpu_share=settings.engine_gpu_share,
        engine_memory_bytes=_bytes(settings.engine_memory_gib),
        trainer_memory_bytes=_bytes(settings.trainer_memory_gib),
        engine_gpus=settings.engine_gpus,
        trainer_gpus=settings.trainer_gpus,
    )


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else round(gib * GIB)
