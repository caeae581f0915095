"""A process that is fed lines; it may be slow or hang, and nobody waits for it."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class FedProcess:
    """Holds back what the process does not take yet. In a process group of its own, which ends with our input."""

    def __init__(self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str]) -> None:
        with (directory / "process.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
            )
        self._input = self._process.stdin.fileno() if self._process.stdin else -1
        os.set_blocking(self._input, False)
        self._held = b""
        self._is_closed = False

    @property
    def is_drained(self) -> bool:
        """Whether the process has taken everything."""
        return not self._held

    def say(self, line: Mapping[str, Any]) -> None:
        self._held += json.dumps(line).encode() + b"\n"

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def push(self) -> bool:
        """Hand over what the process takes now; whether it took anything."""
        before = len(self._held)
        if self._is_closed:
            return False
        try:
            while self._held:
                self._held = self._held[os.write(self._input, self._held[:65536]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._held = b""  # it is about to be found dead
        return len(self._held) < before

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Let it end: there is no more to come."""
        self._is_closed = True
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it and all it has started. Idempotent."""
        self.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
