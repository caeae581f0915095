"""What is left of the real engine's throughput when it is asked through us: vLLM on this machine, saturated."""

import os
import secrets
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Target, load
from benchmarks.served import KEY, Served, serve
from inference.vllm.process import free_socket, wait_until_ready
from server.bootstrap import Services, build_services
from server.engine_assembly import build_engine_commands
from server.settings import load_settings

_PAIRS = 9
_REQUESTS, _AT_ONCE = 96, 32
_TOKENS = 32
_START_TIMEOUT_S = 600.0


def main(pairs: int = _PAIRS) -> None:
    with tempfile.TemporaryDirectory(prefix="ts-") as directory:
        home = Path(directory)
        settings = load_settings({"TUNESMITH_HOME": directory})
        with running_engine(build_services(settings)) as running, serve(home, "server", "api") as served:
            engine, through = running.socket, Target(served.port, running.base_model, KEY)
            for stream in (False, True):
                ratios = [_compare(engine, through, stream=stream, first=i % 2) for i in range(pairs + 1)][
                    1:
                ]  # the first warms up
                how = "streamed" if stream else "whole"
                print(
                    f"engine, requests per second, {how} answers of {_TOKENS} tokens, through us / direct: "
                    f"{statistics.median(ratio for ratio, _ in ratios):.3f}x of "
                    f"{statistics.median(rate for _, rate in ratios):.1f}/s "
                    f"({min(ratios)[0]:.3f} to {max(ratios)[0]:.3f} in {pairs} pairs)"
                )


@dataclass(frozen=True)
class RunningEngine:
    """Of the first base model."""

    pid: int  # of its process group
    socket: Path
    base_model: str

    def cpu_s(self) -> float:
        return sum(Served(pid, 0).cpu_s() for pid in self._pids())

    def memory_bytes(self) -> int:
        """Of all its processes; what they share counts for each."""
        return sum(Served(pid, 0).memory_bytes("VmRSS") for pid in self._pids())

    def _pids(self) -> list[int]:
        everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [pid for pid in everyone if _group_of(pid) == self.pid]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@contextmanager
def running_engine(services: Services) -> Iterator[RunningEngine]:
    """Start the engine as the service does."""
    settings, base_models = services.settings, services.base_models
    command = build_engine_commands(settings, base_models, services.placement)[0]
    free_socket(command.socket)
    with (settings.home / "engine.log").open("ab") as log:
        process = subprocess.Popen(
            command.argv, env=dict(command.environment), stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until_ready(command.socket, _START_TIMEOUT_S, lambda: process.poll() is not None)
            yield RunningEngine(process.pid, command.socket, base_models.entries[0].name)
        finally:
            os.killpg(process.pid, 9)
            process.wait(timeout=30)


def _compare(engine: Path, through: Target, *, stream: bool, first: int) -> tuple[float, float]:
    """Give the ratio of one pair, and the direct rate. Both are salted, as everything that we forward is."""
    fields = {"max_tokens": _TOKENS, "seed": 1, "temperature": 1.0}
    salted = {**fields, "cache_salt": secrets.token_hex(16)}
    if stream:
        salted["stream_options"] = {"include_usage": True}
    runs = [
        (engine, through.request(stream=stream, **salted)),
        (through.port, through.request(stream=stream, **fields)),
    ]
    taken = [0.0, 0.0]
    for side in (first, 1 - first):
        where, request = runs[side]
        taken[side] = load(where, [request] * _REQUESTS, _AT_ONCE).taken_s
    return taken[0] / taken[1], _REQUESTS / taken[0]
