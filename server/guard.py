"""Runs one command so that nothing of it outlives the service: `python -m server.guard DIRECTORY -- COMMAND…`

The directory tells the outside how it goes:
    guard.lock   locked while the guard lives: a second guard on the same directory exits 75
    guard.json   process ids, once the command runs
    exit.json    how it ended, written whole, and how many processes the kernel killed meanwhile for want of memory

The command's whole process tree is killed when the command ends, when the guard is told to (SIGUSR1),
and when the service's parent dies, which the guard sees as the end of the lifeline, a pipe whose
number is in TUNESMITH_LIFELINE_FD. SIGTERM is passed on to the command. Standard library only: one
guard stands beside every run and every engine.
"""

import ctypes
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

LIFELINE_VARIABLE = "TUNESMITH_LIFELINE_FD"
ALREADY_GUARDED = 75  # EX_TEMPFAIL
KILLED = 128 + signal.SIGKILL
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Guard one command to its end; the exit code is the command's (128 + n after signal n)."""
    if len(arguments) < 3 or arguments[1] != "--":
        raise SystemExit("usage: python -m server.guard DIRECTORY -- COMMAND…")
    root, command = Path(arguments[0]), arguments[2:]
    with (root / "guard.lock").open("w") as lock:
        if not _lock(lock.fileno()):
            return ALREADY_GUARDED
        return _Guard(root, command).run()


class _Guard:
    def __init__(self, root: Path, command: list[str]) -> None:
        self._root = root
        self._command = command
        self._parent_gone = False

    def run(self) -> int:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # only wakes the loop
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service's parent
        self._child = subprocess.Popen(self._command, start_new_session=True, preexec_fn=_die_with_parent)
        _write_json(
            self._root / "guard.json",
            {"guard_pid": os.getpid(), "pid": self._child.pid, "started": process_start_time(os.getpid())},
        )
        oom_kills = count_oom_kills()
        code = self._watch(wake_read)
        kill_descendants(self._child.pid)
        _write_json(
            self._root / "exit.json",
            {
                "exit_code": code,
                "parent_gone": self._parent_gone,
                "oom_kills": count_oom_kills() - oom_kills,
            },
        )
        return code

    def _watch(self, wake_read: int) -> int:
        selector = selectors.DefaultSelector()
        selector.register(wake_read, selectors.EVENT_READ, "signal")
        lifeline = os.environ.get(LIFELINE_VARIABLE)
        if lifeline is not None:
            selector.register(int(lifeline), selectors.EVENT_READ, "lifeline")
        while True:
            for key, _ in selector.select():
                if key.data == "lifeline":
                    self._parent_gone = True
                    return KILLED
                if self._is_told_to_kill(os.read(wake_read, 512)):
                    return KILLED
            code = _reap(self._child.pid)
            if code is not None:
                return code

    def _is_told_to_kill(self, signals: bytes) -> bool:
        """Whether SIGUSR1 is among the signals that arrived; SIGTERM is passed on."""
        if signal.SIGUSR1 in signals:
            return True
        if signal.SIGTERM in signals:
            _signal_group(self._child.pid, signal.SIGTERM)
        return False


def _lock(descriptor: int) -> bool:
    """Take the lock; patient for a moment, as those who ask whether it is held must hold it to ask."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def process_start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none. With the pid it names a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rsplit(")", 1)[1].split()[19])


def count_oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has killed since boot because memory ran out; 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def kill_descendants(group: int) -> None:
    """Kill the group, and whatever of its processes has been handed to us, until none is left."""
    _signal_group(group, signal.SIGKILL)
    while True:
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _reap(child: int) -> int | None:
    """Collect the dead; the exit code of `child` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            exit_code = os.waitstatus_to_exitcode(status)
            code = exit_code if exit_code >= 0 else 128 - exit_code


def _write_json(path: Path, value: dict[str, object]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
