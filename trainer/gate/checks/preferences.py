"""Preferences that teach nothing, or what nobody meant: equal answers, choices both ways, length instead of quality."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainer.contract.report import Severity
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent

_ENOUGH_TO_TELL = 20  # examples
_MOSTLY = 0.85  # of the pairs
_MUCH_LONGER = 1.5  # times, on average
_FEW_OF_A_KIND = 0.1  # of the answers


def find_in_pairs(facts: Facts) -> Iterator[Found]:
    yield from _find_equal_answers(facts)
    yield from _find_reversed_choices(facts)
    yield from _find_length_bias(facts)


def find_in_answers(facts: Facts) -> Iterator[Found]:
    """Of single answers that are desirable or not."""
    yield from _find_judged_both_ways(facts)
    yield from _find_one_sidedness(facts)


def _find_equal_answers(facts: Facts) -> Iterator[Found]:
    chosen = facts.column("output") == facts.column("other_output")
    if n := int(chosen.sum()):
        yield Found(
            "equal_answers",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file ({percent(n, facts.n_examples)}) prefer an answer to the very "
            "same answer, from which nothing can be learnt. Remove them.",
            facts.lines(chosen),
        )


def _find_reversed_choices(facts: Facts) -> Iterator[Found]:
    inputs, good, bad = facts.column("input"), facts.column("output"), facts.column("other_output")
    chosen = np.isin(_joined(inputs, good, bad), _joined(inputs, bad, good)) & (good != bad)
    if n := int(chosen.sum()):
        yield Found(
            "reversed_choices",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file prefer one of two answers to the same prompt, where another "
            "example prefers the other one. Keep one choice: together they teach none.",
            facts.lines(chosen),
        )


def _find_length_bias(facts: Facts) -> Iterator[Found]:
    good, bad = facts.column("output_characters"), facts.column("other_characters")
    if facts.n_examples < _ENOUGH_TO_TELL:
        return
    for longer, shorter, words in ((good, bad, "longer"), (bad, good, "shorter")):
        ratio = float(longer.sum()) / max(1, int(shorter.sum()))
        n = int((longer > shorter).sum())
        if n >= _MOSTLY * facts.n_examples and ratio >= _MUCH_LONGER:
            times = ratio if words == "longer" else 1 / ratio
            yield Found(
                "answer_length_bias",
                Severity.WARNING,
                f"{n} example(s) of the {facts.kind} file ({percent(n, facts.n_examples)}) prefer the {words} answer, "
                f"on average of {times:.1f} times the length. The model would learn the length before anything else: "
                "add pairs in which it is the other way round.",
            )


def _find_judged_both_ways(facts: Facts) -> Iterator[Found]:
    answers = _joined(facts.column("input"), facts.column("output"))
    is_good = facts.column("desirable") == 1
    chosen = np.where(is_good, np.isin(answers, answers[~is_good]), np.isin(answers, answers[is_good]))
    if n := int(chosen.sum()):
        yield Found(
            "reversed_choices",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file hold an answer that is desirable in one example and not in "
            "another, to the same prompt. Keep one judgement: together they teach none.",
            facts.lines(chosen),
        )


def _find_one_sidedness(facts: Facts) -> Iterator[Found]:
    used = facts.used()
    n_all, n_good = int(used.sum()), int(facts.column("desirable")[used].sum())
    n = min(n_good, n_all - n_good)
    if facts.kind == "training" and n < _FEW_OF_A_KIND * n_all:
        kind = "desirable" if n == n_good else "undesirable"
        yield Found(
            "one_sided_labels",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file ({percent(n, n_all)}) are {kind}. KTO learns from the contrast "
            "of both kinds: add more of them.",
        )


def _joined(*columns: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One hash of several; the order counts."""
    joined = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        joined = joined * np.uint64(0x9E3779B97F4A7C15) + column
    return joined
