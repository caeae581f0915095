"""The guard, with real processes: nothing of what it runs outlives it, its order or the service."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.guard import ALREADY_GUARDED, KILLED, LIFELINE_VARIABLE, process_start_time

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0
FAMILY = ("command", "near", "far", "orphan")
# A child in the command's own group, one in a session of its own, and one there whose parent is gone.
MAKE_FAMILY = (
    "sleep 60 & echo $! > near; setsid sleep 60 & echo $! > far; "
    "setsid sh -c 'sleep 60 & echo $! > orphan'; echo $$ > command; "
)


class Guarded:
    """A guard in a process of its own, and the write end of its lifeline."""

    def __init__(self, root: Path, script: str) -> None:
        self.root = root
        lifeline, self._lifeline = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server.guard", str(root), "--", "sh", "-c", f"cd {root}; {script}"],
            cwd=ROOT,
            env={**os.environ, LIFELINE_VARIABLE: str(lifeline)},
            pass_fds=(lifeline,),
        )
        os.close(lifeline)
        self.is_service_there = True

    def end_service(self) -> None:
        if self.is_service_there:
            os.close(self._lifeline)
            self.is_service_there = False

    def until_running(self) -> dict[str, int]:
        """What guard.json says."""
        path = self.root / "guard.json"
        until(path.exists)
        return dict(json.loads(path.read_text()))

    def family(self) -> dict[str, int]:
        """The process ids of what MAKE_FAMILY started."""
        until(lambda: all((self.root / name).is_file() and (self.root / name).read_text() for name in FAMILY))
        return {name: int((self.root / name).read_text()) for name in FAMILY}

    def ended(self) -> dict[str, object]:
        """What exit.json says once the guard is gone."""
        self.process.wait(WAIT_S)
        return dict(json.loads((self.root / "exit.json").read_text()))


@contextmanager
def guarded(root: Path, script: str) -> Iterator[Guarded]:
    guard = Guarded(root, script)
    try:
        yield guard
    finally:
        guard.end_service()
        guard.process.wait(WAIT_S)


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


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 75", 75),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
        ("no-such-program", 127),
    ],
)
def test_the_guard_ends_as_its_command_did_and_writes_it_down(tmp_path: Path, script: str, code: int) -> None:
    with guarded(tmp_path, script) as guard:
        assert guard.ended() == {"exit_code": code, "parent_gone": False, "oom_kills": 0}
        assert guard.process.returncode == code


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    with guarded(tmp_path, MAKE_FAMILY + "exit 4") as guard:
        assert guard.ended() == {"exit_code": 4, "parent_gone": False, "oom_kills": 0}
        assert [name for name, pid in guard.family().items() if is_running(pid)] == []


def test_told_to_kill_it_kills_the_whole_tree(tmp_path: Path) -> None:
    with guarded(tmp_path, MAKE_FAMILY + "trap '' TERM; wait") as guard:
        family = guard.family()
        assert all(is_running(pid) for pid in family.values())
        guard.process.send_signal(signal.SIGUSR1)
        assert guard.ended() == {"exit_code": KILLED, "parent_gone": False, "oom_kills": 0}
        assert [name for name, pid in family.items() if is_running(pid)] == []


def test_the_end_of_the_service_is_the_end_of_the_tree(tmp_path: Path) -> None:
    with guarded(tmp_path, MAKE_FAMILY + "trap '' TERM; wait") as guard:
        family = guard.family()
        guard.end_service()
        assert guard.ended() == {"exit_code": KILLED, "parent_gone": True, "oom_kills": 0}
        assert [name for name, pid in family.items() if is_running(pid)] == []


def test_a_service_that_is_gone_before_its_guard_looks_is_seen_too(tmp_path: Path) -> None:
    with guarded(tmp_path, "exec sleep 60") as guard:
        guard.end_service()
        assert guard.ended() == {"exit_code": KILLED, "parent_gone": True, "oom_kills": 0}


def test_a_guard_without_a_service_guards_all_the_same(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != LIFELINE_VARIABLE}
    command = [sys.executable, "-m", "server.guard", str(tmp_path), "--", "sh", "-c", "exit 5"]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=WAIT_S, check=False).returncode == 5


def test_a_command_dies_with_a_guard_that_is_killed_and_nothing_claims_to_know_how(tmp_path: Path) -> None:
    with guarded(tmp_path, "exec sleep 60") as guard:
        pid = guard.until_running()["pid"]
        assert is_running(pid)
        guard.process.kill()
        until(lambda: not is_running(pid))
        assert not (tmp_path / "exit.json").exists()


def test_a_request_to_end_is_passed_on_to_the_commands_group(tmp_path: Path) -> None:
    child = "trap 'echo told > child; exit' TERM; echo > ready; while :; do sleep 0.01; done"
    (tmp_path / "child.sh").write_text(child)
    script = "trap 'wait; exit 7' TERM; sh child.sh & wait"
    with guarded(tmp_path, script) as guard:
        until((tmp_path / "ready").exists)
        guard.process.terminate()
        assert guard.ended() == {"exit_code": 7, "parent_gone": False, "oom_kills": 0}
        assert (tmp_path / "child").read_text() == "told\n"


def test_a_command_may_take_its_time_after_a_request_to_end(tmp_path: Path) -> None:
    with guarded(tmp_path, "trap 'echo > asked' TERM; echo > ready; while ! [ -e go ]; do sleep 0.01; done") as guard:
        until((tmp_path / "ready").exists)
        guard.process.terminate()
        until((tmp_path / "asked").exists)
        assert guard.process.poll() is None
        (tmp_path / "go").touch()
        assert guard.ended() == {"exit_code": 0, "parent_gone": False, "oom_kills": 0}


def test_ctrl_c_is_not_for_the_guard(tmp_path: Path) -> None:
    with guarded(tmp_path, "while ! [ -e go ]; do sleep 0.01; done; exit 6") as guard:
        guard.until_running()
        guard.process.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        assert guard.ended() == {"exit_code": 6, "parent_gone": False, "oom_kills": 0}


def test_a_second_guard_on_the_same_directory_runs_nothing(tmp_path: Path) -> None:
    with guarded(tmp_path, "while ! [ -e go ]; do sleep 0.01; done") as first:
        before = first.until_running()
        with guarded(tmp_path, "echo > second") as second:
            assert second.process.wait(WAIT_S) == ALREADY_GUARDED
        assert not (tmp_path / "second").exists()
        assert first.until_running() == before
        assert not (tmp_path / "exit.json").exists()
        (tmp_path / "go").touch()
        assert first.ended()["exit_code"] == 0


def test_a_directory_can_be_guarded_again_when_its_guard_is_gone(tmp_path: Path) -> None:
    with guarded(tmp_path, "exec sleep 60") as first:
        first.until_running()
        first.process.kill()
    with guarded(tmp_path, "exit 2") as second:
        assert second.ended()["exit_code"] == 2


def test_guard_json_names_both_processes_so_that_no_later_one_is_taken_for_them(tmp_path: Path) -> None:
    with guarded(tmp_path, "exec sleep 60") as guard:
        written = guard.until_running()
        assert written["guard_pid"] == guard.process.pid
        assert os.getsid(written["pid"]) == os.getpgid(written["pid"]) == written["pid"]
        assert written["started"] == process_start_time(guard.process.pid)
    assert process_start_time(guard.process.pid) is None


@pytest.mark.parametrize("arguments", [[], ["."], [".", "--"], [".", "sh", "-c", "exit 0"]])
def test_a_guard_without_a_command_says_how_it_is_used(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "server.guard", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 1
    assert done.stderr == "usage: python -m server.guard DIRECTORY -- COMMAND…\n"
