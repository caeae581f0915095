"""Trained weights in a format of fewer bits, rounded by chance: what training changed is kept on the whole.

Rounded to the nearest, a weight that moved by less than half a step of its format falls back to where it began, and
after small steps most do: docs/decisions/0040-rounded-by-chance.md has the figures.
"""

import zlib

import torch
from torch import Tensor

_DROPPED_BITS = {torch.bfloat16: 16, torch.float16: 13}  # of a float32's mantissa


def round_by_chance(weights: Tensor, dtype: torch.dtype, *, name: str) -> Tensor:
    """Each to one of the two numbers beside it, the more likely the nearer; on average nothing is lost.

    What the format holds stays as it is. The same weights under the same name give the same numbers.
    """
    dropped = _DROPPED_BITS.get(dtype)
    if dropped is None:
        return weights.to(dtype)
    generator = torch.Generator(weights.device).manual_seed(zlib.crc32(name.encode()))
    bits = torch.randint(1 << dropped, weights.shape, generator=generator, dtype=torch.int32, device=weights.device)
    bits += weights.float().contiguous().view(torch.int32)  # of the magnitude: the sign's bit is another
    bits &= -(1 << dropped)
    return bits.view(torch.float32).to(dtype)
