"""Which checkpoints of a job are kept, and what is said of a run's result (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.fine_tuning.lifecycle import NewEvent
from trainer.contract.events import CheckpointSaved, Succeeded

KEPT_CHECKPOINTS = 3  # the newest, the final model's among them: OpenAI's number


def steps_to_keep(full_valid_losses: Mapping[int, float | None]) -> set[int]:
    """The newest of these checkpoints, and the best one: that of the lowest loss, of equal ones the first.

    `full_valid_losses` are by step; None for one that was saved without the whole validation file being evaluated.
    """
    newest = sorted(full_valid_losses)[-KEPT_CHECKPOINTS:]
    measured = [(loss, step) for step, loss in full_valid_losses.items() if loss is not None]
    best = [min(measured)[1]] if measured else []
    return {*newest, *best}


def is_for_clients(saved: CheckpointSaved, *, n_epochs: int, patience: int | None) -> bool:
    """Whether a checkpoint becomes a model of its own: those of the epochs, but not one that is the job's model.

    That is the last epoch's, or, with patience, the best one, which before the end can be any.
    """
    if saved.epoch is None:
        return False
    return saved.epoch < n_epochs or (patience is not None and not saved.is_best)


def result_step(result: Succeeded) -> int:
    """The step that the job's model is of."""
    return result.step if result.best is None else result.best.step


def result_events(result: Succeeded, *, total_steps: int) -> Sequence[NewEvent]:
    """What a client should know of where the job's model comes from."""
    best = result.best
    if best is None:
        return []
    data: dict[str, Any] = {"step": best.step, "full_valid_loss": best.full_valid_loss}
    events = []
    if result.stopped_early:
        message = (
            f"Training stopped early after step {result.step} of {total_steps}: the full validation loss has not "
            f"improved in {best.evaluations_since} evaluation(s)"
        )
        events.append(NewEvent(message, data=data))
    message = f"The model is the checkpoint of step {best.step}, whose full validation loss is the lowest: "
    events.append(NewEvent(f"{message}{best.full_valid_loss:.4f}", data=data))
    return events
