"""How much memory there is for trainers on this machine: what the engines leave, or what the operator says."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from server.fine_tuning.estimates.memory import Device
from server.fine_tuning.estimates.planner import Room
from server.settings import Settings

_GIB = 1024**3
_ENGINE_PROCESS_BYTES = 3 * _GIB // 2  # of main memory: the interpreter with torch and vLLM
_ENGINE_WIDENING = 2  # bfloat16 weights are served in float32 on a CPU
_PROBE_TIMEOUT_S = 10.0


def find_room(settings: Settings, device: Device, sources: Sequence[str]) -> Room | None:
    """Look at the machine. `sources` are those of the base models that engines serve; None: a GPU does not answer."""
    if settings.trainer_memory_gib is not None:
        available = round(settings.trainer_memory_gib * _GIB)
    elif device == "cuda":
        total = _gpu_bytes()
        if total is None:
            return None
        available = round(total * (1 - settings.engine_gpu_share))
    else:
        engines = sum(engine_bytes(source, settings.engine_kv_cache_gib) for source in sources)
        available = max(0, main_memory_bytes() - engines)
    return Room(device, available, settings.allow_4bit)


def main_memory_bytes(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The machine's, or the container's where that has a limit."""
    (line,) = [line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:")]
    total = int(line.split()[1]) * 1024
    try:
        text = limit.read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdecimal() else total


def engine_bytes(source: str, kv_cache_gib: int) -> int:
    """What an engine on the CPU takes; the weights of a base that is not a directory here are not known."""
    weights = sum(file.stat().st_size for file in Path(source).glob("*.safetensors"))
    return weights * _ENGINE_WIDENING + kv_cache_gib * _GIB + _ENGINE_PROCESS_BYTES


def _gpu_bytes() -> int | None:
    """The memory of the first GPU, as trainers see it."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True)
        return int(answer.stdout.split()[0]) * 1024**2
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
