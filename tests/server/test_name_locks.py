"""Locks by name between processes: what stands on them keeps processes apart, and a kill frees it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from server.fine_tuning.dry_runs.estimating import delete_leftovers
from server.idempotency.running import KeyInUse, RunningKeys
from server.name_locks import NameLocks
from server.uploads.joining import Completions
from tests.service import ROOT

_HOLDER = """
import sys
from pathlib import Path
from server.name_locks import NameLocks
held = NameLocks(Path(sys.argv[1])).take(*sys.argv[2:])
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locks(tmp_path: Path) -> NameLocks:
    return NameLocks(tmp_path / "api.lock")


@contextmanager
def another_process(tmp_path: Path, *name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """One that holds a name until it ends."""
    argv = [sys.executable, "-c", _HOLDER, str(tmp_path / "api.lock"), *name]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        output: IO[bytes] | None = process.stdout
        assert output is not None
        assert output.readline() == b"held\n"
        yield process
        process.kill()


def test_a_name_is_held_by_one_at_a_time_and_others_do_not_matter(locks: NameLocks) -> None:
    held = locks.take("a", "b")
    assert held is not None
    assert locks.take("a", "b") is None
    with ExitStack() as others:
        for name in (("a",), ("ab",), ("a", "c")):
            other = locks.take(*name)
            assert other is not None
            others.enter_context(other)
    held.release()
    again = locks.take("a", "b")
    assert again is not None
    again.release()


def test_a_name_has_as_many_places_as_asked(locks: NameLocks) -> None:
    first, second = locks.take_one(2, "a"), locks.take_one(2, "a")
    assert first is not None
    assert second is not None
    assert locks.take_one(2, "a") is None
    first.release()
    third = locks.take_one(2, "a")
    assert third is not None
    for held in (second, third):
        held.release()


def test_a_name_that_another_process_holds_is_free_when_it_is_killed(locks: NameLocks, tmp_path: Path) -> None:
    with another_process(tmp_path, "a") as process:
        assert locks.take("a") is None
        process.kill()
        process.wait()
        held = locks.take("a")
        assert held is not None
        held.release()


def test_an_idempotency_key_that_another_process_works_on_is_in_use(locks: NameLocks, tmp_path: Path) -> None:
    running = RunningKeys(locks)
    with another_process(tmp_path, "idempotency key", "proj", "key"):
        with pytest.raises(KeyInUse), running.hold("proj", "key", object()):
            pytest.fail("it is held twice")
        with running.hold("proj2", "key", object()):
            pass
    with running.hold("proj", "key", object()):
        pass


def test_the_owner_of_an_idempotency_key_may_hold_it_again_and_others_may_not(locks: NameLocks) -> None:
    running, owner = RunningKeys(locks), object()
    with running.hold("proj", "key", owner):
        with running.hold("proj", "key", owner):
            pass
        with pytest.raises(KeyInUse), running.hold("proj", "key", object()):
            pytest.fail("it is held twice")


@pytest.mark.parametrize(
    "names",
    [
        [("completion of upload", "proj", "upload")],
        [("completions of project", "proj", "0"), ("completions of project", "proj", "1")],
    ],
)
def test_a_completion_waits_for_those_of_another_process(
    locks: NameLocks, tmp_path: Path, names: list[tuple[str, ...]]
) -> None:
    async def complete() -> list[str]:
        done: list[str] = []
        with ExitStack() as held:
            holders = [held.enter_context(another_process(tmp_path, *name)) for name in names]
            waiting = asyncio.create_task(Completions(locks).run("proj", "upload", lambda: done.append("mine")))
            await Completions(locks).run("proj2", "upload", lambda: done.append("another project's"))
            assert done == ["another project's"]
            holders[0].kill()
            await waiting
        return done

    assert asyncio.run(complete()) == ["another project's", "mine"]


def test_what_an_estimate_of_another_process_works_on_is_not_deleted(locks: NameLocks, tmp_path: Path) -> None:
    root = tmp_path / "estimates"
    for name in ("theirs", "left"):
        (root / name).mkdir(parents=True)
    with another_process(tmp_path, "directory of an estimate", "theirs"):
        delete_leftovers(root, locks)
        assert [directory.name for directory in root.iterdir()] == ["theirs"]
    delete_leftovers(root, locks)
    assert not list(root.iterdir())
