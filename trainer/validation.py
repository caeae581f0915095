"""Loss and accuracy on the validation file, weighted by tokens: the same numbers however it is batched."""

import math
from collections.abc import Sequence

import torch

from trainer.dataset import TokenizedExample
from trainer.layout import ROW_TOKENS, fill_rows, lay_out
from trainer.ongoing import OngoingRun
from trainer.scoring import TokenTally, pack, pad, score

_PARTIAL_VALIDATIONS = 20  # in a run


class Validation:
    """Measures the whole file when asked, or the part of it that a step's turn comes to."""

    def __init__(self, examples: Sequence[TokenizedExample], run: OngoingRun) -> None:
        self._examples = examples
        self._run = run
        self._part_size = min(run.spec.method.batch_size, len(examples))
        asked = run.spec.method.validation_interval_steps
        self._interval = asked or math.ceil(run.order.total_steps / _PARTIAL_VALIDATIONS)

    def is_due(self, step: int) -> bool:
        return step % self._interval == 0 or step == self._run.order.total_steps

    def measure_part(self, step: int) -> TokenTally:
        """Measure as many examples as a batch has, further on in the file at each step; the same for the same step."""
        start = (step - 1) // self._interval * self._part_size
        indices = [(start + offset) % len(self._examples) for offset in range(self._part_size)]
        return self._measure([self._examples[index] for index in indices])

    def measure_all(self) -> TokenTally:
        return self._measure(self._examples)

    def _measure(self, examples: Sequence[TokenizedExample]) -> TokenTally:
        model, tally = self._run.state.model, TokenTally()
        model.eval()
        with torch.no_grad():
            lengths = [len(example.input_ids_L) for example in examples]
            budget_tokens = self._run.spec.memory.micro_batch_tokens
            row_tokens = min(ROW_TOKENS[model.device.type], budget_tokens) if self._run.packs else None
            for group in lay_out_long(lengths, budget_tokens=budget_tokens, row_tokens=row_tokens):
                self._run.interruption.check()
                chosen = [examples[index] for index in group]
                micro_batch = pad(chosen) if row_tokens is None else pack(chosen)
                tally.add(score(model, {name: tensor.to(model.device) for name, tensor in micro_batch.items()}))
        return tally


def lay_out_long(
    lengths: Sequence[int], *, budget_tokens: int, row_tokens: int | None = None, at_once: int = 256
) -> list[list[int]]:
    """Lay out many examples in portions: finding the best layout takes time that grows with the square."""
    groups = []
    for start in range(0, len(lengths), at_once):
        portion = lengths[start : start + at_once]
        if row_tokens is None:
            laid_out = lay_out(portion, budget_tokens=budget_tokens)
        else:
            laid_out = fill_rows(portion, row_tokens=row_tokens)
        groups += [[start + index for index in group] for group in laid_out]
    return groups
