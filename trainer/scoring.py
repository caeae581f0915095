"""What the model gives to the tokens of a micro-batch that are trained on.

Shapes: B examples of a micro-batch, L padded length, N tokens inside the loss mask, H hidden size, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.dataset import TokenizedExample

IGNORED = -100  # the label of a token outside the loss mask
MicroBatch = dict[str, Tensor]  # input_ids [B, L], labels [B, L]; position_ids [1, L] of a row of several examples


@dataclass(frozen=True)
class Scores:
    loss_sum: Tensor  # over N, in nats; the gradient starts here
    n_right: Tensor
    n_tokens: Tensor


@dataclass
class TokenTally:
    """Sums over tokens, so that a mean does not depend on how they were batched."""

    loss_sum: float = 0.0
    n_right: int = 0
    n_tokens: int = 0
    n_processed_tokens: int = 0  # prompts included, padding excluded

    def add(self, scores: Scores) -> None:
        self.loss_sum += scores.loss_sum.item()
        self.n_right += int(scores.n_right.item())
        self.n_tokens += int(scores.n_tokens.item())

    @property
    def mean_loss(self) -> float:
        return self.loss_sum / self.n_tokens if self.n_tokens else math.nan

    @property
    def accuracy(self) -> float:
        return self.n_right / self.n_tokens if self.n_tokens else math.nan

    def further(self) -> dict[str, float]:
        """Nothing is measured but loss and accuracy."""
        return {}


def pad(examples: Sequence[TokenizedExample]) -> MicroBatch:
    """Lay examples side by side, padded at the end with token 0, which no real token attends to."""
    longest = max(len(example.input_ids_L) for example in examples)
    input_ids_BL = np.zeros((len(examples), longest), dtype=np.int64)
    labels_BL = np.full((len(examples), longest), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        length = len(example.input_ids_L)
        input_ids_BL[row, :length] = example.input_ids_L
        labels_BL[row, :length] = np.where(example.trained_L, example.input_ids_L, IGNORED)
    return {"input_ids": torch.from_numpy(input_ids_BL), "labels": torch.from_numpy(labels_BL)}


def pack(examples: Sequence[TokenizedExample]) -> MicroBatch:
    """Lay examples behind each other in one row.

    Positions that begin anew are what transformers makes its block-diagonal attention of. The first token of an example
    is never a target, so that none is predicted from the example before it.
    """
    input_ids_L = np.concatenate([example.input_ids_L for example in examples]).astype(np.int64)
    labels_L = np.where(np.concatenate([example.trained_L for example in examples]), input_ids_L, IGNORED)
    position_ids_L = np.concatenate([np.arange(len(example.input_ids_L)) for example in examples])
    row = {"input_ids": input_ids_L, "labels": labels_L, "position_ids": position_ids_L}
    return {name: torch.from_numpy(values_L)[None] for name, values_L in row.items()}


def score(model: Any, micro_batch: MicroBatch) -> Scores:
    """Predict every labelled token from those before it.

    On a GPU by TRL's fused output head, which never holds all logits. That head scores every position on a CPU;
    there the model's own head is given the labelled positions only.
    """
    if micro_batch["input_ids"].device.type == "cpu":
        return score_labelled(model, micro_batch)
    return score_fused(model, micro_batch)


def score_fused(model: Any, micro_batch: MicroBatch) -> Scores:
    outputs = model(**micro_batch, use_cache=False, fused_lm_head=True)  # with a cache, packed rows are not told apart
    return Scores(-outputs.log_probs.sum(), outputs.is_top1.sum(), outputs.label_mask.sum())


def score_labelled(model: Any, micro_batch: MicroBatch) -> Scores:
    wanted_BL = micro_batch["labels"][:, 1:] != IGNORED
    logits_NV = _labelled_logits(model, micro_batch, wanted_BL)
    targets_N = micro_batch["labels"][:, 1:][wanted_BL]
    loss_sum = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")
    n_right = (logits_NV.detach().argmax(-1) == targets_N).sum()
    return Scores(loss_sum, n_right, wanted_BL.sum())


def log_probabilities(model: Any, micro_batch: MicroBatch) -> Tensor:
    """Of every labelled token from the second on, [B, L - 1]; 0 where there is no label. On a GPU by the fused head."""
    if micro_batch["input_ids"].device.type != "cpu":
        fused: Tensor = model(**micro_batch, use_cache=False, fused_lm_head=True).log_probs
        return fused
    targets_BL = micro_batch["labels"][:, 1:]
    wanted_BL = targets_BL != IGNORED
    logits_NV = _labelled_logits(model, micro_batch, wanted_BL)
    of_targets_N = -torch.nn.functional.cross_entropy(logits_NV, targets_BL[wanted_BL], reduction="none")
    return torch.zeros(targets_BL.shape, dtype=of_targets_N.dtype).masked_scatter(wanted_BL, of_targets_N)


def _labelled_logits(model: Any, micro_batch: MicroBatch, wanted_BL: Tensor) -> Tensor:
    """By the model's own head, which is given the wanted positions only."""

    def select(_head: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden_BLH = inputs[0]
        return (hidden_BLH[:, :-1][wanted_BL],)

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        inputs = {name: tensor for name, tensor in micro_batch.items() if name != "labels"}
        logits_NV: Tensor = model(**inputs, use_cache=False).logits.float()
    finally:
        hook.remove()
    return logits_NV
