"""Runs that are killed or paused at any step, and whose checkpoints are damaged, end as if nothing had been.

With dropout, validation, patience and a checkpoint every third step; each run is a process of its own, forked so that
it need not import torch again.
"""

import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from killed_runs import end_at, fork, stop_within_validation, validations, wait
from trainer_runs import FAULTS, assistant, damage, events, make_run, make_spec, progress, user, write_lines

from server.fine_tuning.lifecycle import JobProgress, apply
from server.fine_tuning.publishing.outcome import is_for_clients, result_events
from trainer.contract.checkpoint import find_newest_checkpoint
from trainer.contract.events import CheckpointSaved, Progress, Succeeded
from trainer.contract.run_directory import RunDirectory

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

N_EXAMPLES, BATCH, N_EPOCHS, PATIENCE = 26, 4, 9, 3
METHOD = {"learning_rate": 0.1, "n_epochs": N_EPOCHS, "early_stopping_patience": PATIENCE}
KILLED, STOPPED = -signal.SIGKILL, 143


def make(base: Path, root: Path, **overrides: Any) -> RunDirectory:
    spec = make_spec(base, **{"method": METHOD, "checkpoint_every_steps": 3, **overrides})
    run = make_run(root, spec, n_examples=N_EXAMPLES)
    contrary = [{"messages": [user(f"what is {number}"), assistant("ZQX" * (9 + number))]} for number in range(7)]
    write_lines(run.validation_file, contrary)
    return run


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make(base, tmp_path_factory.mktemp("whole") / "run")
    assert wait(fork(run)) == 0
    end = events(run)[-1]
    assert isinstance(end, Succeeded)
    assert end.stopped_early
    return run


def go_on(base: Path, root: Path, attempts: Sequence[RunDirectory]) -> RunDirectory:
    """The next attempt, from the newest whole checkpoint of the last one that has one."""
    found = (find_newest_checkpoint(run.checkpoints) for run in reversed(attempts))
    checkpoint = next((path for path in found if path is not None), None)
    run = make(base, root, attempt=len(attempts) + 1, resume_from=checkpoint)
    assert wait(fork(run)) == 0
    return run


def seen(attempts: Sequence[RunDirectory]) -> Iterator[tuple[Any, ...]]:
    """What a client sees of these attempts together: each thing once, as the worker applies them."""
    last_step, steps_saved = 0, set()
    for event in (event for run in attempts for event in events(run)):
        effects = apply(JobProgress(last_step), event)
        last_step = effects.changes.get("last_step", last_step)
        yield from ((new.message, new.data) for new in effects.events)
        if isinstance(event, Progress) and effects.events:
            yield event.step, event.metrics, event.trained_tokens, event.learning_rate, event.grad_norm
        if isinstance(event, CheckpointSaved) and event.step not in steps_saved and event.epoch is not None:
            steps_saved.add(event.step)
            if is_for_clients(event, n_epochs=N_EPOCHS, patience=PATIENCE):
                yield event.step, event.epoch, event.metrics, event.is_best
        if isinstance(event, Succeeded):
            yield event.step, event.trained_tokens, event.best, event.stopped_early
            yield from ((new.message, new.data) for new in result_events(event, total_steps=N_EPOCHS * 7))


def assert_equal(attempts: Sequence[RunDirectory], whole: RunDirectory) -> None:
    assert list(seen(attempts)) == list(seen([whole]))
    files = sorted(path.name for path in whole.adapter.iterdir())
    assert sorted(path.name for path in attempts[-1].adapter.iterdir()) == files
    assert all((attempts[-1].adapter / name).read_bytes() == (whole.adapter / name).read_bytes() for name in files)


def random_steps(whole: RunDirectory, n: int, seed: int) -> list[int]:
    """Not the last few: a run that is told so late ends by itself if its step is seen late."""
    return random.Random(seed).sample(range(1, len(progress(whole)) - 3), n)


def sweep(whole: RunDirectory, base: Path, root: Path, steps: Sequence[int], how: signal.Signals) -> list[int]:
    """End a run at each of these steps, and let it go on; the exit codes."""
    codes = []
    for step in steps:
        first = make(base, root / str(step) / "1")
        codes.append(end_at(first, step, how))
        assert_equal([first, go_on(base, root / str(step) / "2", [first])], whole)
        shutil.rmtree(root / str(step))
    return codes


def test_a_run_killed_twice_ends_as_if_it_had_not_been(whole: RunDirectory, base: Path, tmp_path: Path) -> None:
    """The second kill comes in a resumed run, whose best step may be known from its checkpoint alone."""
    one, two = sorted(random_steps(whole, 2, seed=5))
    first = make(base, tmp_path / "1")
    assert end_at(first, one, signal.SIGKILL) == KILLED
    second = make(base, tmp_path / "2", attempt=2, resume_from=find_newest_checkpoint(first.checkpoints))
    assert end_at(second, two, signal.SIGKILL) == KILLED
    third = go_on(base, tmp_path / "3", [first, second])
    assert_equal([first, second, third], whole)


def test_a_run_paused_at_a_random_step_ends_as_if_it_had_not_been(
    whole: RunDirectory, base: Path, tmp_path: Path
) -> None:
    assert sweep(whole, base, tmp_path, random_steps(whole, 1, seed=6), signal.SIGTERM) == [STOPPED]


@pytest.mark.parametrize(("kind", "nth"), [("valid_loss", 1), ("full_valid_loss", 0), ("full_valid_loss", -1)])
def test_a_run_paused_within_a_validation_ends_as_if_it_had_not_been(
    whole: RunDirectory, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, nth: int
) -> None:
    """The same one twice; the last evaluation is the one that ends patience."""
    n = [number for number, name in enumerate(validations(whole)) if name == kind][nth]
    first = make(base, tmp_path / "1")
    assert stop_within_validation(first, n, monkeypatch) == STOPPED
    second = make(base, tmp_path / "2", attempt=2, resume_from=find_newest_checkpoint(first.checkpoints))
    assert stop_within_validation(second, 0, monkeypatch) == STOPPED
    assert_equal([first, second, go_on(base, tmp_path / "3", [first, second])], whole)


def test_a_run_paused_within_its_very_last_validation_ends_as_if_it_had_not_been(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is left then."""
    method = {"learning_rate": 0.1, "n_epochs": 1}
    undisturbed, first = make(base, tmp_path / "whole", method=method), make(base, tmp_path / "1", method=method)
    assert wait(fork(undisturbed)) == 0
    assert stop_within_validation(first, len(validations(undisturbed)) - 1, monkeypatch) == STOPPED
    newest = find_newest_checkpoint(first.checkpoints)
    second = make(base, tmp_path / "2", attempt=2, resume_from=newest, method=method)
    assert wait(fork(second)) == 0
    assert_equal([first, second], undisturbed)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, KILLED), (signal.SIGTERM, STOPPED)])
def test_twenty_runs_each_ended_at_another_step(
    whole: RunDirectory, base: Path, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    steps = random_steps(whole, 20, seed=how)
    assert sweep(whole, base, tmp_path, steps, how) == [code] * 20
    print(f"{how.name} at steps {sorted(steps)} of {len(progress(whole))}")  # noqa: T201


def test_a_checkpoint_with_any_file_damaged_is_passed_over(whole: RunDirectory, tmp_path: Path) -> None:
    checkpoints = shutil.copytree(whole.checkpoints, tmp_path / "checkpoints")
    newest, before = sorted(checkpoints.iterdir(), reverse=True)[:2]
    assert find_newest_checkpoint(checkpoints) == newest
    files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
    assert {str(path.relative_to(newest)) for path in files} == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/golden_samples.json",
        "adapter/reproduction.json",
        "best/adapter_model.safetensors",
        "manifest.json",
        "state.pt",
    }
    for path in files:
        sound = path.read_bytes()
        for fault in FAULTS:
            damage(path, fault)
            assert find_newest_checkpoint(checkpoints) == before, (path.name, fault)
            path.write_bytes(sound)
    assert find_newest_checkpoint(checkpoints) == newest


def test_any_bit_of_a_manifest_counts(whole: RunDirectory, tmp_path: Path) -> None:
    checkpoints = shutil.copytree(whole.checkpoints, tmp_path / "checkpoints")
    newest, before = sorted(checkpoints.iterdir(), reverse=True)[:2]
    sound = (newest / "manifest.json").read_bytes()
    for position in range(len(sound)):
        flipped = sound[position] ^ (1 << position % 8)
        (newest / "manifest.json").write_bytes(sound[:position] + bytes([flipped]) + sound[position + 1 :])
        assert find_newest_checkpoint(checkpoints) == before, position


@pytest.mark.parametrize(("name", "fault"), [("state.pt", "flip"), ("best/adapter_model.safetensors", "delete")])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    whole: RunDirectory, base: Path, tmp_path: Path, name: str, fault: str
) -> None:
    first = RunDirectory(shutil.copytree(whole.root, tmp_path / "1"))
    newest = find_newest_checkpoint(first.checkpoints)
    assert newest is not None
    damage(newest / name, fault)
    before = find_newest_checkpoint(first.checkpoints)
    assert before is not None
    assert before < newest
    second = go_on(base, tmp_path / "2", [first])
    assert progress(second)[0].step == int(before.name.removeprefix("step_")) + 1
    names = ("adapter_config.json", "adapter_model.safetensors", "golden_samples.json")
    assert all((second.adapter / file).read_bytes() == (whole.adapter / file).read_bytes() for file in names)
