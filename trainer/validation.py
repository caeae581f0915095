"""When the validation examples are measured, and which of them: all, or the part that a step's turn comes to."""

import math
from collections.abc import Callable, Sequence

import torch

from trainer.ongoing import OngoingRun
from trainer.tally import Tally

_PARTIAL_VALIDATIONS = 20  # in a run


class Validation:
    """`measure` is the method's: given the numbers of examples, what the model as it is makes of them."""

    def __init__(self, n_examples: int, run: OngoingRun, measure: Callable[[Sequence[int]], Tally]) -> None:
        self._n_examples = n_examples
        self._run = run
        self._measure_examples = measure
        self._part_size = min(run.spec.method.batch_size, n_examples)
        asked = run.spec.method.validation_interval_steps
        self._interval = asked or math.ceil(run.order.total_steps / _PARTIAL_VALIDATIONS)

    def is_due(self, step: int) -> bool:
        return step % self._interval == 0 or step == self._run.order.total_steps

    def measure_part(self, step: int) -> Tally:
        """Measure as many examples as a batch has, further on in the file at each step; the same for the same step."""
        start = (step - 1) // self._interval * self._part_size
        return self._measure([(start + offset) % self._n_examples for offset in range(self._part_size)])

    def measure_all(self) -> Tally:
        return self._measure(range(self._n_examples))

    def _measure(self, numbers: Sequence[int]) -> Tally:
        self._run.state.model.eval()
        with torch.no_grad():
            return self._measure_examples(numbers)
