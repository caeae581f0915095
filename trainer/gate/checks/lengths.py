"""How long examples are, and what the context length cuts off."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract.report import Histogram, Severity
from trainer.gate.facts import Facts
from trainer.gate.found import Found

_TIMES_THE_MEDIAN = 10
_LONG_TOKENS = 200  # of an example that may be called long at all
_ENOUGH_TO_TELL = 20  # examples


def histogram(values: npt.NDArray[Any]) -> Histogram:
    """Bins that double, from the one of the smallest value to the one of the largest."""
    if not len(values):
        return Histogram(edges=(0, 1), counts=(0,))
    largest = int(values.max())
    edges = [0, 1]
    while edges[-1] <= largest:
        edges.append(2 * edges[-1])
    counts, _ = np.histogram(values, bins=edges)
    first = int(np.flatnonzero(counts)[0])
    return Histogram(edges=tuple(edges[first:]), counts=tuple(int(count) for count in counts[first:]))


def find_outliers(facts: Facts) -> Iterator[Found]:
    if facts.n_rows < _ENOUGH_TO_TELL:
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
            f"{n} example(s) of the {facts.kind} file are left out, because the model's context ends before their "
            "answer begins. Shorten what comes before the answer.",
            facts.lines(is_lost),
        )
    is_cut = (kept < answer) & (kept > 0)
    if n := int(is_cut.sum()):
        shares = 100 * (1 - kept[is_cut] / answer[is_cut])
        yield Found(
            "truncated_answers",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file are longer than the model's context and are cut at its end: they "
            f"lose the last {shares.min():.0f} % to {shares.max():.0f} % of their answer, and where it ends is not "
            "learnt. Shorten or split them.",
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
