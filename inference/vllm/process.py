"""What the parent of an engine process needs besides its command: the machine's facts, a free socket, readiness."""

import http.client
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

_PROBE_TIMEOUT_S = 5.0
_SMALL_MODEL_BYTES = 1024**3
_TINY_MODEL_BYTES = 64 * 1024**2


class EngineStartFailed(Exception):
    """The engine did not become ready; the message says what was seen."""


def find_device() -> Literal["cpu", "cuda"]:
    """Say what an engine would compute on here: "cuda" where an NVIDIA driver is."""
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return "cuda" if has_driver else "cpu"


def has_quantisation() -> bool:
    """Whether the plugin is there by which vLLM quantises a model's weights, and reads quantised ones."""
    return importlib.util.find_spec("vllm_bnb_plugin") is not None


def choose_cpu_dtype(
    model: str, *, is_quantised: bool = False, cpuinfo: Path = Path("/proc/cpuinfo")
) -> Literal["float32", "bfloat16"]:
    """Choose what an engine on this CPU computes in. Quantised weights it computes with in bfloat16 alone.

    A small model in float32 is served exactly as it was trained (log-probabilities agree to 0.00001, in bfloat16 to
    0.006), and no slower. A large one, or one whose size is not known here, in bfloat16, half the memory to read for
    each token, where the CPU has instructions for it.
    """
    if is_quantised:
        return "bfloat16"
    if 0 < _weights_bytes(model) < _SMALL_MODEL_BYTES or not _has_bf16(cpuinfo):
        return "float32"
    return "bfloat16"


def engine_cpu_threads(model: str) -> int:
    """Say how many threads an engine on the CPU computes with: all we may use but one, which schedules and serves.

    A tiny model is done before a second thread has begun, and with one thread an engine starts much sooner.
    """
    if 0 < _weights_bytes(model) < _TINY_MODEL_BYTES:
        return 1
    return max(1, len(os.sched_getaffinity(0)) - 1)


def free_socket(path: Path) -> None:
    """Make way for an engine's socket: its directory is there and private, a dead engine's socket is not.

    Call it before each start: the engine itself does not replace a stale socket.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)


def is_ready(path: Path) -> bool:
    """Whether an engine answers on this socket that it is healthy. Takes at most a few seconds."""
    connection = UnixConnection(path, _PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_ready(path: Path, timeout_s: float, has_ended: Callable[[], bool], interval_s: float = 0.2) -> None:
    """Wait for an engine that was just started; `has_ended` says whether its process has died meanwhile.

    Raises:
        EngineStartFailed: it died, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while not is_ready(path):
        if has_ended():
            raise EngineStartFailed("the engine ended while it started; its log says why")
        if time.monotonic() >= deadline:
            raise EngineStartFailed(f"the engine was not ready after {timeout_s:g} s; its log may say why")
        time.sleep(interval_s)


def _weights_bytes(model: str) -> int:
    """Say how large a local model's weights are; 0 if they are not here."""
    return sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))


def _has_bf16(cpuinfo: Path) -> bool:
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
