"""One child process of the service: started, watched, started again with a growing pause when it dies."""

import ctypes
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_LONGEST_PAUSE_S = 30.0
_GUARD_KILLS_WITHIN_S = 5.0
_STEADY_S = 60.0  # a child that lived this long starts its pauses anew


@dataclass(frozen=True)
class ChildCommand:
    name: str  # for messages, and its log file's name
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    pass_fds: tuple[int, ...]
    before_start: Callable[[], None] = lambda: None
    is_guard: bool = False  # sees the service's end by itself, and must outlive it to end what it guards


class Child:
    """Dies with the thread that starts it, unless it is a guard: start it from the main thread."""

    def __init__(self, command: ChildCommand) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0  # in a row
        self.started_at = 0.0  # monotonic
        self._start_at = 0.0

    def tend(self) -> int | None:
        """Start it if it is due; say the exit code if it has just died."""
        if self.process is None:
            if time.monotonic() >= self._start_at:
                self._start()
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.process = None
        lived_s = time.monotonic() - self.started_at
        self.deaths = 1 if lived_s > _STEADY_S else self.deaths + 1
        pause_s = 0.0 if self.deaths == 1 else min(_LONGEST_PAUSE_S, 0.5 * 2.0**self.deaths)
        self._start_at = time.monotonic() + pause_s
        return code

    def ask_to_stop(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def kill_guarded(self) -> None:
        """Have a guard kill what it guards; `tend` starts both again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)

    def is_gone(self) -> bool:
        """Whether it has ended after `ask_to_stop`; if so, the next `tend` starts it as if for the first time."""
        if self.process is not None and self.process.poll() is None:
            return False
        self.process = None
        self.deaths = 0
        self._start_at = 0.0
        return True

    def stop(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic), then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._kill(self.process)
        self.process = None

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if self.command.is_guard:
            process.send_signal(signal.SIGUSR1)  # kills all that it guards, then ends
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GUARD_KILLS_WITHIN_S)
        process.kill()
        process.wait()

    def _start(self) -> None:
        self.command.before_start()
        with self.command.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command.argv,
                env=self.command.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.command.pass_fds,
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's to pass on
                preexec_fn=None if self.command.is_guard else _die_with_parent,
            )
        self.started_at = time.monotonic()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
