"""What every launcher promises, and what the one with real processes promises besides."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from trainer_runs import ROOT, events, make_run, make_spec, progress

from server.guard import LIFELINE_VARIABLE
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import (
    Exited,
    Launcher,
    LaunchRefused,
    LaunchRequest,
    Lost,
    RunHandle,
    Running,
    RunState,
)
from server.launchers.local_process import LocalProcessLauncher, command
from tests.played_runs import PlayedTrainer
from trainer.contract.events import Interrupted, Started, Succeeded
from trainer.contract.run_directory import RunDirectory

WAIT_S = 30.0
SLOW = {"FAKE_STEP_S": "0.02"}


@dataclass(frozen=True)
class Rig:
    """A launcher, one whose runs crash at the third step, and the kind of its handles."""

    launcher: Launcher
    crashing: Launcher
    environment_of_a_crash: dict[str, str]
    kind: str


@pytest.fixture(params=["in_memory", "local_process"])
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "local_process":
        launcher = local()
        return Rig(launcher, launcher, {"FAKE_CRASH_AT_STEP": "3"}, "local_process")
    crashing = PlayedTrainer({1: lambda run: run.crash_at(3)})
    return Rig(InMemoryLauncher(PlayedTrainer()), InMemoryLauncher(crashing), {}, "in_memory")


def local() -> LocalProcessLauncher:
    return LocalProcessLauncher("trainer.fake")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run", make_spec(tmp_path))


def until(probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not probe():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children() -> set[str]:
    """The process ids of this process's children."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found.update((task / "children").read_text().split())
    return found


def end_of(launcher: Launcher, handle: RunHandle) -> RunState:
    until(lambda: not isinstance(launcher.poll(handle), Running))
    return launcher.poll(handle)


def starts(run: RunDirectory) -> int:
    return sum(isinstance(event, Started) for event in events(run))


def test_a_run_is_started_and_its_end_is_seen(rig: Rig, run: RunDirectory) -> None:
    handle = rig.launcher.launch(LaunchRequest(run.root, "train"))
    assert end_of(rig.launcher, handle) == Exited(0)
    assert isinstance(events(run)[-1], Succeeded)


def test_an_end_stays_what_it_was(rig: Rig, run: RunDirectory) -> None:
    handle = rig.launcher.launch(LaunchRequest(run.root, "train"))
    assert [end_of(rig.launcher, handle) for _ in range(3)] == [Exited(0)] * 3


def test_a_check_is_a_run_too(rig: Rig, run: RunDirectory) -> None:
    handle = rig.launcher.launch(LaunchRequest(run.root, "check"))
    assert end_of(rig.launcher, handle) == Exited(0)
    assert run.read_report() is not None
    assert not run.events.exists()


def test_a_crash_shows_its_exit_code(rig: Rig, run: RunDirectory) -> None:
    handle = rig.crashing.launch(LaunchRequest(run.root, "train", rig.environment_of_a_crash))
    assert end_of(rig.crashing, handle) == Exited(9)
    assert [event.step for event in progress(run)] == [1, 2]


def test_launching_a_directory_twice_starts_one_run(rig: Rig, run: RunDirectory) -> None:
    request = LaunchRequest(run.root, "train")
    first, second = rig.launcher.launch(request), rig.launcher.launch(request)
    assert first == second
    assert end_of(rig.launcher, second) == Exited(0)
    assert rig.launcher.launch(request) == first
    assert rig.launcher.poll(first) == Exited(0)
    assert starts(run) == 1


def test_a_handle_can_be_stored_as_json(rig: Rig, run: RunDirectory) -> None:
    handle = rig.launcher.launch(LaunchRequest(run.root, "train"))
    stored = RunHandle.from_json(json.loads(json.dumps(handle.to_json())))
    assert (stored, stored.kind) == (handle, rig.kind)
    assert end_of(rig.launcher, stored) == Exited(0)


def test_a_run_nobody_knows_is_lost(rig: Rig, tmp_path: Path) -> None:
    assert rig.launcher.poll(RunHandle(rig.kind, {"run_directory": str(tmp_path / "never")})) == Lost()


def test_stopping_a_run_that_has_ended_changes_nothing(rig: Rig, run: RunDirectory) -> None:
    handle = rig.launcher.launch(LaunchRequest(run.root, "train"))
    end_of(rig.launcher, handle)
    for _ in range(2):
        rig.launcher.stop(handle, grace_s=1)
    assert rig.launcher.poll(handle) == Exited(0)
    assert isinstance(events(run)[-1], Succeeded)


def test_stopping_a_run_nobody_knows_is_no_error(rig: Rig, tmp_path: Path) -> None:
    rig.launcher.stop(RunHandle(rig.kind, {"run_directory": str(tmp_path / "never")}), grace_s=1)


def test_a_run_directory_is_the_last_word_of_the_command_line(tmp_path: Path) -> None:
    guard = [sys.executable, "-m", "server.guard", "/runs/1", "--", sys.executable, "-m", "trainer"]
    assert command(LaunchRequest(Path("/runs/1"), "train"), "trainer") == [*guard, "/runs/1"]
    assert command(LaunchRequest(Path("/runs/1"), "check"), "trainer") == [*guard, "check", "/runs/1"]


def test_a_run_that_has_ended_is_not_started_again(run: RunDirectory) -> None:
    launcher, request = local(), LaunchRequest(run.root, "train")
    end_of(launcher, launcher.launch(request))
    before = children()
    assert launcher.poll(launcher.launch(request)) == Exited(0)
    assert children() <= before


def test_a_launcher_made_later_goes_on_with_a_run(run: RunDirectory) -> None:
    handle = local().launch(LaunchRequest(run.root, "train", SLOW))
    assert local().poll(handle) == Running()
    assert end_of(local(), handle) == Exited(0)


def test_a_run_outlives_the_worker_that_started_it_and_obeys_the_next(run: RunDirectory) -> None:
    worker = (
        "import os, sys, pathlib\n"
        "from server.launchers.launcher import LaunchRequest\n"
        "from server.launchers.local_process import LocalProcessLauncher\n"
        "request = LaunchRequest(pathlib.Path(sys.argv[1]), 'train', {'FAKE_STEP_S': '0.5'})\n"
        "LocalProcessLauncher('trainer.fake').launch(request)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    dead = subprocess.run([sys.executable, "-c", worker, run.root], cwd=ROOT, timeout=WAIT_S, check=False)
    assert dead.returncode == -9

    handle = local().launch(LaunchRequest(run.root, "train"))  # its handle was lost with the worker
    assert local().poll(handle) == Running()
    until(lambda: starts(run))
    local().stop(handle, grace_s=WAIT_S)
    assert local().poll(handle) == Exited(143)
    assert starts(run) == 1


def test_two_that_launch_at_the_same_time_start_one_run(run: RunDirectory) -> None:
    request = LaunchRequest(run.root, "train", SLOW)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda launcher: launcher.launch(request), [local(), local()])
    assert first == second
    assert end_of(local(), first) == Exited(0)
    assert starts(run) == 1


def test_a_run_that_is_asked_to_stop_ends_in_its_own_way(run: RunDirectory) -> None:
    launcher = local()
    handle = launcher.launch(LaunchRequest(run.root, "train", SLOW))
    until(lambda: progress(run))
    launcher.stop(handle, grace_s=WAIT_S)
    assert launcher.poll(handle) == Exited(143)
    assert isinstance(events(run)[-1], Interrupted)


def test_a_run_that_does_not_obey_is_killed(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1], 'asked').touch())\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "while True: time.sleep(0.01)\n"
    )
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    launcher = LocalProcessLauncher("stubborn")
    handle = launcher.launch(LaunchRequest(run.root, "train", {"PYTHONPATH": path}))
    until((run.root / "ready").exists)
    launcher.stop(handle, grace_s=0.1)
    assert launcher.poll(handle) == Exited(137)
    assert (run.root / "asked").exists()


def test_a_run_whose_guard_was_killed_is_lost_and_its_trainer_is_gone(run: RunDirectory) -> None:
    launcher = local()
    handle = launcher.launch(LaunchRequest(run.root, "train", {"FAKE_STEP_S": "30"}))
    written = json.loads((run.root / "guard.json").read_text())
    os.kill(written["guard_pid"], 9)
    assert end_of(launcher, handle) == Lost()
    until(lambda: not is_running(written["pid"]))
    launcher.stop(handle, grace_s=1)


def test_a_run_killed_with_the_service_says_so(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    lifeline, service = os.pipe()
    monkeypatch.setenv(LIFELINE_VARIABLE, str(lifeline))
    launcher = local()
    handle = launcher.launch(LaunchRequest(run.root, "train", {"FAKE_STEP_S": "30"}))
    os.close(lifeline)
    assert launcher.poll(handle) == Running()
    os.close(service)
    assert end_of(launcher, handle) == Exited(137, service_stopped=True)


def test_what_cannot_be_started_is_refused_in_words_that_show_no_path(run: RunDirectory) -> None:
    no_python = {"PYTHONHOME": str(run.root / "nothing")}
    with pytest.raises(LaunchRefused, match=r"could not be started; trainer\.log says why") as refused:
        local().launch(LaunchRequest(run.root, "train", no_python))
    assert str(run.root) not in str(refused.value)
    assert b"encodings" in run.log.read_bytes()


def test_what_a_run_prints_is_in_its_log(run: RunDirectory) -> None:
    run.spec.unlink()
    assert end_of(local(), local().launch(LaunchRequest(run.root, "train"))) == Exited(64)
    assert "spec.json" in run.log.read_text()
