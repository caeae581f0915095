"""Whether a model keeps the examples of a packed row apart."""

import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trainer.dataset import TokenizedExample
from trainer.scoring import pack, score_labelled


def keeps_apart(model: Any, examples: Sequence[TokenizedExample]) -> bool:
    """Whether what stands before an example in its row changes nothing of its loss.

    Attention is told apart by positions; a layer that carries a state along the row knows nothing of them. Changing the
    first example of a row, not its length, must leave the loss of the second as it is.
    """
    shortest = heapq.nsmallest(2, examples, key=lambda example: len(example.input_ids_L))
    first, second = shortest[0], shortest[-1]
    losses = []
    model.eval()
    for ids_L in (first.input_ids_L, np.full_like(first.input_ids_L, second.input_ids_L[-1])):
        row = pack([TokenizedExample(ids_L, np.zeros_like(first.trained_L)), second])
        with torch.no_grad():
            scores = score_labelled(model, {name: tensor.to(model.device) for name, tensor in row.items()})
        losses.append(scores.loss_sum.item())
    return math.isclose(*losses, rel_tol=1e-4)
