"""Single answers, each desirable or not, in micro-batches; and each prompt with another one's answer.

How far the model has moved from its reference is estimated on answers that were not made for their prompts, as TRL
does it, over all examples of a step: each with the answer of the one before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainer.dataset import TokenizedExample, TokenizedExamples
from trainer.layout import lay_out_long
from trainer.methods.pairs import masked
from trainer.order import StepOrder
from trainer.scoring import MicroBatch, pad

References = npt.NDArray[np.float32]  # one log-probability an answer


@dataclass(frozen=True)
class Answers:
    """What a run trains on, and what it validates with. The arrays of mismatched ones are in the order of the steps."""

    training: TokenizedExamples
    validation: TokenizedExamples | None
    order: StepOrder
    budget_tokens: int
    training_reference: References
    mismatched_reference: References
    validation_reference: References | None = None
    mismatched_validation_reference: References | None = None

    def of_step(self, step: int) -> dict[str, Any]:
        numbers = self.order.examples_of(step)
        start = first_of(self.order, step)
        places = range(start, start + len(numbers))
        sequences = [mismatched(self.training, self.order, at) for at in places]
        reference = self.mismatched_reference[start : start + len(numbers)]
        return self._item(self.training, numbers, self.training_reference) | self._distant(sequences, reference)

    def of_validation(self, numbers: Sequence[int]) -> dict[str, Any]:
        if self.validation is None or self.validation_reference is None or self.mismatched_validation_reference is None:
            raise ValueError("there is nothing to validate with")
        examples = self.validation
        sequences = [mismatch(examples, number, number - 1) for number in numbers]
        reference = self.mismatched_validation_reference[list(numbers)]
        return self._item(examples, numbers, self.validation_reference) | self._distant(sequences, reference)

    def _item(self, examples: TokenizedExamples, numbers: Sequence[int], reference_N: References) -> dict[str, Any]:
        chosen = [examples[number] for number in numbers]
        micro_batches = []
        for group in lay_out_long([len(one.input_ids_L) for one in chosen], budget_tokens=self.budget_tokens):
            of_group = [chosen[index] for index in group]
            reference = reference_N[[numbers[index] for index in group]]
            micro_batches.append(
                masked(of_group)
                | {
                    "label": torch.tensor([one.is_desirable for one in of_group]),
                    "ref_logps": torch.from_numpy(reference),
                    "ref_KL_logps": torch.zeros(len(of_group)),  # the estimate is of the whole step
                }
            )
        n_tokens = sum(len(one.input_ids_L) for one in chosen)
        return {"micro_batches": micro_batches, "divisor": len(chosen), "n_tokens": n_tokens}

    def _distant(self, sequences: Sequence[TokenizedExample], reference: References) -> dict[str, Any]:
        groups = lay_out_long([len(one.input_ids_L) for one in sequences], budget_tokens=self.budget_tokens)
        mismatched: list[MicroBatch] = [pad([sequences[index] for index in group]) for group in groups]
        return {"mismatched": mismatched, "mismatched_reference": float(reference.sum(dtype=np.float64))}


def first_of(order: StepOrder, step: int) -> int:
    """How many examples all steps before this one have."""
    epoch, batch = divmod(step - 1, order.steps_per_epoch)
    return epoch * order.n_examples + batch * order.batch_size


def mismatched(examples: TokenizedExamples, order: StepOrder, at: int) -> TokenizedExample:
    """The prompt of an example with the answer of the one before it in its step, the first with that of the last.

    `at` counts the examples of all steps, in their order.
    """
    epoch, within = divmod(at, order.n_examples)
    batch, place = divmod(within, order.batch_size)
    numbers = order.examples_of(epoch * order.steps_per_epoch + batch + 1)
    return mismatch(examples, numbers[place], numbers[place - 1])


def mismatch(examples: TokenizedExamples, asked: int, answered: int) -> TokenizedExample:
    """The prompt of one example with the answer of another, cut at the context."""
    one, other = examples[asked], examples[answered]
    start, answer = int(one.trained_L.argmax()), int(other.trained_L.argmax())
    ids = np.concatenate([one.input_ids_L[:start], other.input_ids_L[answer:]])
    trained = np.concatenate([one.trained_L[:start], other.trained_L[answer:]])
    return TokenizedExample(ids[: examples.limit_tokens], trained[: examples.limit_tokens])
