"""Runs of preferences and of all weights that are killed at three steps end as if nothing had been."""

import os
import signal
from pathlib import Path

import pytest
from killed_runs import end_at, fork, stop_within_validation, validations, wait
from preference_runs import ALL_METHODS, make_preference_run, preference_spec
from trainer_runs import progress

from trainer.contract.checkpoint import find_newest_checkpoint
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import LoraSettings, MethodName, TrainingSpec

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

LORA = LoraSettings(rank=4, alpha=8, dropout=0.2, target_modules="all-linear")  # whose draws go on, too
RUNS: dict[str, tuple[MethodName, LoraSettings | None]] = {
    "kto with an adapter": ("kto", LORA),
    "dpo of all weights": ("dpo", None),
    "supervised of all weights": ("supervised", None),
}
STOPPED = 143
KILLED_AT = (2, 5, 7)  # before there is a checkpoint, after the first epoch, and once more


def spec_of(base: Path, name: str, **more: object) -> TrainingSpec:
    method, lora = RUNS[name]
    steps = ALL_METHODS[method].model_copy(update={"learning_rate": 1e-3})
    return preference_spec(base, method, lora=lora, method=steps, checkpoint_every_steps=3, **more)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_at_three_steps_ends_in_the_same_bytes(base: Path, tmp_path: Path, name: str) -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    whole = make_preference_run(tmp_path / "whole", spec_of(base, name))
    assert wait(fork(whole)) == 0
    attempts: list[RunDirectory] = []
    for step in (*KILLED_AT, None):
        found = (find_newest_checkpoint(run.checkpoints) for run in reversed(attempts))
        resume_from = next((path for path in found if path is not None), None)
        spec = spec_of(base, name, attempt=len(attempts) + 1, resume_from=resume_from)
        attempts.append(make_preference_run(tmp_path / str(len(attempts)), spec))
        if step is not None:
            assert end_at(attempts[-1], step, signal.SIGKILL) == -signal.SIGKILL
    assert wait(fork(attempts[-1])) == 0
    starts = [progress(run)[0].step for run in attempts]
    assert starts[0] == starts[1] == 1
    assert starts[1] < starts[2] < starts[3]
    assert outcome(attempts[-1]) == outcome(whole)
    facts = {event.step: (event.metrics, event.grad_norm) for event in progress(whole)}
    assert all((event.metrics, event.grad_norm) == facts[event.step] for run in attempts for event in progress(run))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_paused_within_its_very_last_validation_ends_in_the_same_bytes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    whole, first = (make_preference_run(tmp_path / run, spec_of(base, name)) for run in ("whole", "1"))
    assert wait(fork(whole)) == 0
    assert stop_within_validation(first, len(validations(whole)) - 1, monkeypatch) == STOPPED
    newest = find_newest_checkpoint(first.checkpoints)
    second = make_preference_run(tmp_path / "2", spec_of(base, name, attempt=2, resume_from=newest))
    assert wait(fork(second)) == 0
    assert [event.metrics for run in (first, second) for event in progress(run)] == [
        event.metrics for event in progress(whole)
    ]
    assert outcome(second) == outcome(whole)


def outcome(run: RunDirectory) -> dict[str, bytes]:
    """The weights, the samples, and what the reference said, if there is one."""
    files = (
        *run.root.glob("*/*.safetensors"),
        *run.root.glob("*/golden_samples.json"),
        *run.reference.glob("*.float32"),
    )
    return {str(path.relative_to(run.root)): path.read_bytes() for path in files}
