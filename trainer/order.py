"""Which examples each step trains on (pure): a fresh seeded shuffle per epoch, cut into batches."""

import math
import random
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class StepOrder:
    """Steps count from 1 and epochs from 1; the last batch of an epoch may be smaller."""

    n_examples: int
    batch_size: int
    n_epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.n_examples / self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.n_epochs * self.steps_per_epoch

    def examples_of(self, step: int) -> tuple[int, ...]:
        """The indices of the examples of a step; the same whatever was trained before it."""
        epoch, batch = divmod(step - 1, self.steps_per_epoch)
        start = batch * self.batch_size
        return _shuffled(self.n_examples, self.seed, epoch)[start : start + self.batch_size]

    def epoch_ended_by(self, step: int) -> int | None:
        """The epoch that is complete after this step, if one is."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return epoch if rest == 0 else None


@lru_cache(maxsize=2)
def _shuffled(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(n))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)
