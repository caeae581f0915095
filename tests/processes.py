"""The machine's processes as /proc shows them: who descends from whom, and who carries a mark in its environment."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunningProcess:
    """A process at a moment. The start time tells it from a later one with the same id."""

    pid: int
    started: int  # clock ticks since boot
    parent: int
    argv: tuple[str, ...]

    def is_alive(self) -> bool:
        """Whether it still runs; one that is dead and not yet collected does not."""
        now = _read(self.pid)
        return now is not None and now.started == self.started

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal it, unless it is gone."""
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def __str__(self) -> str:
        return f"{self.pid} (parent {self.parent}): {' '.join(self.argv)[:160]}"


def all_processes() -> list[RunningProcess]:
    """Every process that runs now; those without a command line, the kernel's, left out."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for process in map(_read, pids) if process is not None and process.argv]


def descendants(root: int) -> list[RunningProcess]:
    """The process `root` and everything below it, parents first."""
    processes = all_processes()
    children: dict[int, list[RunningProcess]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in processes if process.pid == root]
    for process in found:  # grows while it is walked
        found += children.get(process.pid, [])
    return found


def marked(name: str, value: str) -> list[RunningProcess]:
    """Those whose environment, as they were started with it, has this variable with this value."""
    wanted = f"{name}={value}".encode()
    return [process for process in all_processes() if wanted in _environment(process.pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or somebody else's
        return []


def _read(pid: int) -> RunningProcess | None:
    """The process, or None if there is none that runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return None
    state, parent, *rest = stat.rsplit(")", 1)[1].split()
    if state in "ZX":
        return None
    words = tuple(word.decode(errors="replace") for word in argv if word)
    return RunningProcess(pid=pid, started=int(rest[17]), parent=int(parent), argv=words)
