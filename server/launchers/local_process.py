"""Runs as process groups on this machine, each under a guard."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from server.guard import ALREADY_GUARDED, KILLED, LIFELINE_VARIABLE, process_start_time
from server.launchers.environment import without_secrets
from server.launchers.launcher import Exited, LaunchRefused, LaunchRequest, Lost, RunHandle, Running, RunState

_KIND = "local_process"
_START_TIMEOUT_S = 20.0
_POLL_S = 0.02


def command(request: LaunchRequest, module: str) -> list[str]:
    """The command line of a run: guard, then trainer."""
    task = [] if request.task == "train" else [request.task]
    trainer = [sys.executable, "-m", module, *task, str(request.run_directory)]
    return [sys.executable, "-m", "server.guard", str(request.run_directory), "--", *trainer]


class LocalProcessLauncher:
    """`module` is what is run: the trainer, or its fake."""

    def __init__(self, module: str = "trainer") -> None:
        self._module = module

    def launch(self, request: LaunchRequest) -> RunHandle:
        handle = RunHandle(_KIND, {"run_directory": str(request.run_directory)})
        guard_file = request.run_directory / "guard.json"
        if guard_file.exists():  # started before, by a worker that died before it could say so
            return handle
        lifeline = os.environ.get(LIFELINE_VARIABLE)
        with (request.run_directory / "trainer.log").open("ab") as log:
            guard = subprocess.Popen(
                command(request, self._module),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives the worker
                pass_fds=() if lifeline is None else (int(lifeline),),
                env=_environment(request),
            )
        threading.Thread(target=guard.wait, daemon=True).start()  # collects it whenever it ends
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not guard_file.exists():
            if guard.poll() not in (None, ALREADY_GUARDED) and not guard_file.exists():
                raise LaunchRefused("the trainer process could not be started; trainer.log says why")
            if time.monotonic() > deadline:
                guard.kill()
                raise LaunchRefused("the trainer process did not start in time")
            time.sleep(_POLL_S)
        return handle

    def poll(self, handle: RunHandle) -> RunState:
        root = Path(handle.data["run_directory"])
        if _is_locked(root / "guard.lock"):
            return Running()
        try:
            ended = json.loads((root / "exit.json").read_text())
        except FileNotFoundError:
            return Lost()
        return Exited(
            ended["exit_code"],
            service_stopped=ended["parent_gone"],
            # The kernel says only that it killed some process: with a SIGKILL here, that is evidence enough.
            oom_killed=ended["exit_code"] == KILLED and not ended["parent_gone"] and ended.get("oom_kills", 0) > 0,
        )

    def stop(self, handle: RunHandle, grace_s: float) -> None:
        root = Path(handle.data["run_directory"])
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGUSR1, 5.0), (signal.SIGKILL, 5.0)):
            if not _is_locked(root / "guard.lock"):
                break
            _signal_guard(root, number)
            deadline = time.monotonic() + patience_s
            while _is_locked(root / "guard.lock") and time.monotonic() < deadline:
                time.sleep(_POLL_S)


def _environment(request: LaunchRequest) -> dict[str, str]:
    return {**without_secrets(os.environ), **request.environment}


def _is_locked(path: Path) -> bool:
    """Whether a guard lives. The lock, unlike a process id, cannot be somebody else's."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _guard_process(root: Path) -> dict[str, int] | None:
    try:
        return dict(json.loads((root / "guard.json").read_text()))
    except FileNotFoundError:
        return None


def _signal_guard(root: Path, number: signal.Signals) -> None:
    guard = _guard_process(root)
    if guard is None or process_start_time(guard["guard_pid"]) != guard["started"]:
        return
    try:
        os.kill(guard["guard_pid"], number)
    except ProcessLookupError:
        return
