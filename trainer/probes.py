"""The tokens on which a trained adapter and what is published of it are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.golden_samples import Prompts, build_prompts

_COMPARED, _COMPARED_TOKENS = 4, 64  # examples, and of each so many tokens
_WEIGHED, _WEIGHED_TOKENS = 16, 128


class Example(Protocol):
    @property
    def input_ids_L(self) -> npt.NDArray[np.int32]: ...


@dataclass(frozen=True)
class Probes:
    """Token ids of examples have the shape (1, L). Nothing of them is written down."""

    prompts: Prompts
    compared: Sequence[Tensor]  # examples
    weighed: Sequence[Tensor]  # examples from which a conversion learns what the layers' inputs are like


def build_probes(tokenizer: Any, training: Sequence[Example], *, context_length_tokens: int) -> Probes:
    return Probes(
        build_prompts(tokenizer, context_length_tokens=context_length_tokens),
        _take(training, _COMPARED, _COMPARED_TOKENS, first=0),
        _take(training, _WEIGHED, _WEIGHED_TOKENS, first=1),  # others, where the file has enough
    )


def _take(training: Sequence[Example], n: int, n_tokens: int, *, first: int) -> list[Tensor]:
    """Evenly from all of the file."""
    stride = max(1, len(training) // n)
    chosen = list(range(first, len(training), stride))[:n] or [0]
    return [torch.tensor(training[index].input_ids_L[:n_tokens].astype(np.int64))[None] for index in chosen]
