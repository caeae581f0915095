"""How a document that is longer than the context is split instead of cut (pure).

Each piece begins with the last token of the one before it: so every token but the document's first is predicted once,
and none without another before it.

Shapes: N documents.
"""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def count_pieces(lengths_N: npt.NDArray[np.integer], limit_tokens: int) -> Counts:
    """Of each document, for pieces of at most so many tokens, two at least."""
    stride = max(1, limit_tokens - 1)
    pieces_N: Counts = np.maximum(1, -(-(lengths_N.astype(np.int64) - 1) // stride))
    return pieces_N


def piece(number: int, limit_tokens: int) -> slice:
    """Where in its document a piece lies; they count from 0."""
    start = number * max(1, limit_tokens - 1)
    return slice(start, start + max(2, limit_tokens))
