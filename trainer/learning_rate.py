"""The learning rate over a run (pure)."""

import math

from trainer.contract.spec import Scheduler

_LEAST_SHARE = 0.1  # of the peak, under "cosine_with_min_lr"


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """Whole steps of warm-up; at least one step is left after it."""
    return min(math.ceil(total_steps * warmup_ratio), total_steps - 1)


def factor(step: int, *, scheduler: Scheduler, total_steps: int, warmup_ratio: float) -> float:
    """The share of the peak learning rate for a step, counted from 0.

    Linear warm-up that reaches the peak on the step after it, then the scheduler's shape. It is transformers' schedule
    of one warm-up step more, without the first step, whose rate is 0: so no step trains with 0, nor does the last.
    """
    if scheduler == "constant":
        return 1.0
    warmup = warmup_steps(total_steps, warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / (total_steps - warmup)
    match scheduler:
        case "cosine":
            return _half_cosine(progress)
        case "cosine_with_min_lr":
            return _LEAST_SHARE + (1 - _LEAST_SHARE) * _half_cosine(progress)
        case "linear":
            return 1 - progress
        case "constant_with_warmup":
            return 1.0
        case "inverse_sqrt":
            return math.sqrt((warmup + 1) / (step + 1))


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
