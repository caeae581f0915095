"""The learning rate over a run (pure)."""

import math


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """Whole steps of warm-up; at least one step is left after it."""
    return min(math.ceil(total_steps * warmup_ratio), total_steps - 1)


def factor(step: int, *, total_steps: int, warmup_ratio: float) -> float:
    """The share of the peak learning rate for a step, counted from 0.

    Linear warm-up that reaches the peak on the step after it, then a half cosine towards 0.
    No step trains with 0: neither the first, as with `transformers.get_cosine_schedule_with_warmup`, nor the last.
    """
    warmup = warmup_steps(total_steps, warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / (total_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
