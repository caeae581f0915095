"""Pairs of answers in micro-batches: TRL's layout, the preferred answers first and then the others.

Shapes: B pairs of a micro-batch, L padded length, N pairs in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.dataset import TokenizedExample, TokenizedExamples
from trainer.layout import lay_out_long
from trainer.order import StepOrder
from trainer.scoring import IGNORED, pad

Pair = tuple[TokenizedExample, ...]  # the preferred answer, the other one
References = npt.NDArray[np.float32]  # [N, 2]: the reference's log-probability of each answer


@dataclass(frozen=True)
class Pairs:
    """What a run trains on, and what it validates with; without a reference for methods that have none."""

    training: TokenizedExamples
    validation: TokenizedExamples | None
    order: StepOrder
    budget_tokens: int
    training_reference: References | None = None
    validation_reference: References | None = None

    def of_step(self, step: int) -> dict[str, Any]:
        return self._item(self.training, self.order.examples_of(step), self.training_reference)

    def of_validation(self, numbers: Sequence[int]) -> dict[str, Any]:
        if self.validation is None:
            raise ValueError("there is nothing to validate with")
        return self._item(self.validation, numbers, self.validation_reference)

    def _item(
        self, examples: TokenizedExamples, numbers: Sequence[int], reference_N2: References | None
    ) -> dict[str, Any]:
        pairs = [examples.sequences(number) for number in numbers]
        lengths = [longest(pair) for pair in pairs]
        n_preferred_tokens = sum(len(preferred.input_ids_L) - 1 for preferred, _ in pairs)
        micro_batches = []
        for group in lay_out_long(lengths, budget_tokens=max(1, self.budget_tokens // 2)):
            micro_batch = lay_side_by_side([pairs[index] for index in group])
            if reference_N2 is not None:
                chosen, rejected = reference_N2[[numbers[index] for index in group]].T
                micro_batch |= {
                    "ref_chosen_logps": torch.from_numpy(chosen.copy()),
                    "ref_rejected_logps": torch.from_numpy(rejected.copy()),
                }
            share = len(numbers) / len(group) / n_preferred_tokens  # of a token in a mean over the whole step
            micro_batch["token_share"] = torch.tensor(share)
            micro_batches.append(micro_batch)
        n_tokens = sum(len(sequence.input_ids_L) for pair in pairs for sequence in pair)
        return {"micro_batches": micro_batches, "divisor": len(pairs), "n_tokens": n_tokens}


def longest(pair: Pair) -> int:
    return max(len(sequence.input_ids_L) for sequence in pair)


def lay_side_by_side(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    return masked([pair[side] for side in (0, 1) for pair in pairs])


def masked(sequences: Sequence[TokenizedExample]) -> dict[str, Tensor]:
    """Padded at the end, with the masks that TRL wants."""
    padded = pad(sequences)
    lengths_B1 = torch.tensor([[len(sequence.input_ids_L)] for sequence in sequences])
    return {
        "input_ids": padded["input_ids"],
        "attention_mask": (torch.arange(padded["input_ids"].shape[1]) < lengths_B1).long(),
        "completion_mask": (padded["labels"] != IGNORED).long(),
    }
