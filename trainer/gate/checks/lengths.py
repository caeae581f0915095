"""How long examples are, and what the context length cuts off."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract.report import Histogram, Severity
from trainer.gate.facts import Facts
from trainer.gate.found import Found

_BINS = 16
_WIDE = 32  # times the smallest value
_TIMES_THE_MEDIAN = 10
_LONG_TOKENS = 200  # of an example that may be called long at all
_ENOUGH_TO_TELL = 20  # examples


def histogram(values: npt.NDArray[Any]) -> Histogram:
    """At most about twenty bins: of one width, or doubling where the largest value is many times the smallest."""
    if not len(values):
        return Histogram(edges=(0, 1), counts=(0,))
    edges = _edges(int(values.min()), int(values.max()))
    counts, _ = np.histogram(values, bins=edges)
    return Histogram(edges=tuple(edges), counts=tuple(int(count) for count in counts))


def _edges(smallest: int, largest: int) -> list[int]:
    """From the smallest value, or less, to above the largest."""
    if largest >= _WIDE * max(smallest, 1):
        doubling = [0, *(2**power for power in range(32))]
        first = max(index for index, edge in enumerate(doubling) if edge <= smallest)
        last = next(index for index, edge in enumerate(doubling) if edge > largest)
        return doubling[first : last + 1]
    width = (largest - smallest) // _BINS + 1
    first = smallest - smallest % width
    return list(range(first, largest + width + 1, width))


def find_outliers(facts: Facts) -> Iterator[Found]:
    if facts.n_examples < _ENOUGH_TO_TELL:
        return
    tokens = facts.column("tokens")
    limit = max(_TIMES_THE_MEDIAN * float(np.median(tokens)), _LONG_TOKENS)
    chosen = tokens > limit
    if n := int(chosen.sum()):
        yield Found(
            "lengths",
            Severity.INFO,
            f"{n} example(s) of the {facts.kind} file are longer than {limit:.0f} tokens, {_TIMES_THE_MEDIAN} times "
            f"the median of {np.median(tokens):.0f}. See whether they are what they should be.",
            facts.lines(chosen),
        )


def find_cut(facts: Facts) -> Iterator[Found]:
    """What loses the end of its answer, and what loses all of it."""
    answer, kept = facts.column("answer_tokens"), facts.column("kept_answer_tokens")
    is_lost = (answer > 0) & (kept == 0)
    if n := int(is_lost.sum()):
        yield Found(
            "answer_beyond_context",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file are left out, because what is trained on of an example (the "
            "model's context, or max_seq_length) ends before their answer begins. Shorten what comes before it.",
            facts.lines(is_lost),
        )
    is_cut = (kept < answer) & (kept > 0)
    if n := int(is_cut.sum()):
        shares = 100 * (1 - kept[is_cut] / answer[is_cut])
        yield Found(
            "truncated_answers",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file are longer than the model's context, or than max_seq_length, "
            f"and are cut at its end: they lose the last {shares.min():.0f} % to {shares.max():.0f} % of their answer, "
            "and where it ends is not learnt. Shorten or split them.",
            facts.lines(is_cut),
        )


def find_untrained(facts: Facts) -> Iterator[Found]:
    chosen = facts.column("answer_tokens") == 0
    if n := int(chosen.sum()):
        yield Found(
            "nothing_trained",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file are left out, because nothing in them is trained on: no "
            "assistant message has a weight other than 0. Give one a weight of 1, or remove them.",
            facts.lines(chosen),
        )
