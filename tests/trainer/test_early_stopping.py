"""Which step is best and when patience ends, by table; and real runs that stop early, are killed, and go on."""

from pathlib import Path
from typing import Any

import pytest
from trainer_runs import (
    assistant,
    checkpoints_saved,
    events,
    make_run,
    make_spec,
    progress,
    train_here,
    user,
    write_lines,
)

from trainer.contract.checkpoint import is_complete
from trainer.contract.events import BestCheckpoint, Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.early_stopping import compare, is_patience_over

EPOCH, PATIENCE = 5, 4  # steps of an epoch: 20 examples, 4 at a time
METHOD: dict[str, Any] = {"learning_rate": 0.1, "n_epochs": 9, "early_stopping_patience": PATIENCE}


def best_of(*losses: float) -> BestCheckpoint | None:
    best = None
    for step, loss in enumerate(losses, start=1):
        best = compare(best, step=step, full_valid_loss=loss)
    return best


@pytest.mark.parametrize(
    ("losses", "step", "since"),
    [
        ((2.0,), 1, 0),
        ((2.0, 1.5), 2, 0),
        ((2.0, 2.5), 1, 1),
        ((2.0, 1.5, 1.6, 1.7), 2, 2),
        ((2.0, 1.5, 1.6, 1.4), 4, 0),
        ((1.5, 1.5, 1.5), 1, 2),  # as low is not better
        ((1.0, 3.0, 2.0), 1, 2),  # better than the one before is not better than the best
    ],
)
def test_the_best_step_is_the_first_with_the_lowest_loss(losses: tuple[float, ...], step: int, since: int) -> None:
    best = best_of(*losses)
    assert best is not None
    assert (best.step, best.full_valid_loss, best.evaluations_since) == (step, min(losses), since)


@pytest.mark.parametrize(
    ("losses", "patience", "is_over"),
    [
        ((), 1, False),
        ((2.0,), 1, False),
        ((2.0, 2.0), 1, True),
        ((2.0, 1.0, 1.5), 2, False),
        ((2.0, 1.0, 1.5, 1.4), 2, True),
        ((2.0, 3.0, 4.0, 5.0), None, False),
    ],
)
def test_patience_ends_after_so_many_evaluations_without_improvement(
    losses: tuple[float, ...], patience: int | None, is_over: bool
) -> None:
    assert is_patience_over(best_of(*losses), patience) == is_over


@pytest.fixture(scope="module")
def stopped(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that is not interrupted, whose validation file gets worse the more it learns of its training file."""
    return train_here(make(base, tmp_path_factory.mktemp("stopped") / "run"))


def make(base: Path, root: Path, *, method: dict[str, Any] | None = None, **overrides: Any) -> RunDirectory:
    run = make_run(root, make_spec(base, method={**METHOD, **(method or {})}, **overrides), n_examples=20)
    contrary = [{"messages": [user(f"what is {number}"), assistant("ZQX" * (9 + number))]} for number in range(1, 8)]
    write_lines(run.validation_file, contrary)
    return run


def end_of(run: RunDirectory) -> Succeeded:
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    return last


def full_losses(run: RunDirectory) -> dict[int, float]:
    found = {event.step: event.metrics.full_valid_loss for event in progress(run)}
    return {step: loss for step, loss in found.items() if loss is not None}


def weights(adapter: Path) -> bytes:
    return (adapter / "adapter_model.safetensors").read_bytes()


@pytest.mark.trainer
def test_a_run_stops_when_patience_ends_and_its_result_is_the_best_step(stopped: RunDirectory) -> None:
    end, losses = end_of(stopped), full_losses(stopped)
    best = min(losses, key=lambda step: losses[step])
    assert end.stopped_early
    assert end.step == max(losses) == best + PATIENCE * EPOCH < METHOD["n_epochs"] * EPOCH
    assert end.best == BestCheckpoint(step=best, full_valid_loss=losses[best], evaluations_since=PATIENCE)
    assert end.trained_tokens == progress(stopped)[-1].trained_tokens
    assert weights(stopped.adapter) == weights(stopped.checkpoint(best) / "adapter")
    assert weights(stopped.adapter) != weights(stopped.checkpoint(end.step) / "adapter")


@pytest.mark.trainer
def test_the_best_checkpoint_is_kept_beside_the_last_three(stopped: RunDirectory) -> None:
    end = end_of(stopped)
    assert end.best is not None
    steps = [end.best.step, end.step - 2 * EPOCH, end.step - EPOCH, end.step]
    assert [path.name for path in sorted(stopped.checkpoints.iterdir())] == [f"step_{step:06d}" for step in steps]
    assert all(is_complete(path) for path in stopped.checkpoints.iterdir())
    saved = {event.step: event for event in checkpoints_saved(stopped)}
    losses = full_losses(stopped)
    assert all(saved[step].is_best == (losses[step] == min(losses[s] for s in losses if s <= step)) for step in losses)


@pytest.mark.trainer
@pytest.mark.parametrize("place", ["best", "between", "last"])
def test_a_resumed_run_knows_what_was_best(stopped: RunDirectory, base: Path, tmp_path: Path, place: str) -> None:
    """From the best step its own adapter is what was best; from the last one nothing is left to train."""
    expected = end_of(stopped)
    assert expected.best is not None
    step = {"best": expected.best.step, "between": expected.step - EPOCH, "last": expected.step}[place]
    run = train_here(make(base, tmp_path / "run", attempt=2, resume_from=stopped.checkpoint(step)))
    end = end_of(run)
    assert (end.step, end.best, end.stopped_early) == (expected.step, expected.best, True)
    assert [event.step for event in progress(run)] == list(range(step + 1, expected.step + 1))
    assert {at: loss for at, loss in full_losses(stopped).items() if at > step} == full_losses(run)
    assert weights(run.adapter) == weights(stopped.adapter)


@pytest.mark.trainer
@pytest.mark.parametrize("resumes", [False, True])
def test_without_patience_the_result_is_the_last_step(
    stopped: RunDirectory, base: Path, tmp_path: Path, resumes: bool
) -> None:
    best = end_of(stopped).best
    assert best is not None
    last = best.step + EPOCH
    method = {"n_epochs": last // EPOCH, "early_stopping_patience": None}
    resume_from = stopped.checkpoint(best.step) if resumes else None
    run = train_here(make(base, tmp_path / "run", method=method, resume_from=resume_from))
    end = end_of(run)
    assert (end.step, end.best, end.stopped_early) == (last, None, False)
    assert weights(run.adapter) == weights(run.checkpoint(last) / "adapter")


@pytest.mark.trainer
def test_a_run_whose_patience_never_ends_still_gives_its_best_step(base: Path, tmp_path: Path) -> None:
    run = train_here(make(base, tmp_path / "run", method={"early_stopping_patience": METHOD["n_epochs"]}))
    end, losses = end_of(run), full_losses(run)
    assert (end.step, end.stopped_early) == (METHOD["n_epochs"] * EPOCH, False)
    assert end.best is not None
    assert end.best.step == min(losses, key=lambda step: losses[step]) < end.step
    assert weights(run.adapter) == weights(run.checkpoint(end.best.step) / "adapter")
