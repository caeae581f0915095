"""Which step has been best so far, and when to stop waiting for a better one (pure)."""

from trainer.contract.events import BestCheckpoint


def compare(best: BestCheckpoint | None, *, step: int, full_valid_loss: float) -> BestCheckpoint:
    """Take in an evaluation of the whole validation file; only a lower loss is better."""
    if best is None or full_valid_loss < best.full_valid_loss:
        return BestCheckpoint(step=step, full_valid_loss=full_valid_loss, evaluations_since=0)
    return best.model_copy(update={"evaluations_since": best.evaluations_since + 1})


def is_patience_over(best: BestCheckpoint | None, patience: int | None) -> bool:
    """Whether training ends here. `patience` counts evaluations without improvement; None: it never ends."""
    return best is not None and patience is not None and best.evaluations_since >= patience
