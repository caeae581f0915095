"""A server process on loopback that a benchmark measures from outside."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY = "benchmark key"
_START_TIMEOUT_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_TIME, _SYSTEM_TIME = 11, 12  # fields of /proc/PID/stat after the command's name


@dataclass(frozen=True)
class Served:
    pid: int
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_PER_S

    def forget_peak(self) -> None:
        """Let the peak of memory begin at what is held now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def memory_bytes(self, field: str) -> int:
        """`VmRSS`: now. `VmHWM`: the peak."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{field}:"))


@contextmanager
def serve(home: Path, *module: str) -> Iterator[Served]:
    """Run `python -m MODULE … --listen-fd N` until it is no longer needed."""
    with socket.create_server(("127.0.0.1", 0)) as listener, (home / "server.log").open("ab") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        process = subprocess.Popen(
            [sys.executable, "-m", *module, "--listen-fd", str(listener.fileno())],
            env=environment | {"TUNESMITH_HOME": str(home), "TUNESMITH_API_KEY": KEY},
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
        )
        served = Served(process.pid, listener.getsockname()[1])
        try:
            _wait(served)
            yield served
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(served: Served) -> None:
    """A connection waits in the socket's queue until the process answers it."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        connection = served.connect()
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        finally:
            connection.close()
