"""A few hundred items of a stream of unknown length, evenly from all of it."""

from collections.abc import Iterable
from typing import TypeVar

_MOST = 512

T = TypeVar("T")


def take_evenly(items: Iterable[T]) -> list[T]:
    """All of a short stream; of a longer one every 2nd, 4th, 8th … item, 256 to 512 of them."""
    kept: list[T] = []
    every = 1
    for number, item in enumerate(items):
        if number % every:
            continue
        kept.append(item)
        if len(kept) > _MOST:
            kept = kept[::2]
            every *= 2
    return kept
