"""Answers that teach nothing: empty, very short where the others are long, always the same, one word over and over."""

from collections.abc import Iterator

import numpy as np

from trainer.contract.report import Severity, Task
from trainer.gate.facts import Facts, Flag
from trainer.gate.form import Form
from trainer.gate.found import Found, percent

_VERY_SHORT_CHARACTERS = 5
_LONG_CHARACTERS = 50  # of the middle one, where a very short one is odd
_SAME = 0.5  # of the examples
_ENOUGH_TO_TELL = 10  # examples


def find_empty_answers(facts: Facts) -> Iterator[Found]:
    chosen = facts.has(Flag.EMPTY_ANSWER)
    if n := int(chosen.sum()):
        yield Found(
            "empty_outputs",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file have an answer without a word, which teaches the model to say "
            "nothing. Fill them in or remove them.",
            facts.lines(chosen),
        )


def find_short_answers(facts: Facts) -> Iterator[Found]:
    lengths = facts.column("output_characters")
    used = facts.used() & (facts.column("form") != Form.CALL)
    if used.sum() < _ENOUGH_TO_TELL or np.median(lengths[used]) < _LONG_CHARACTERS:
        return
    chosen = used & (lengths > 0) & (lengths <= _VERY_SHORT_CHARACTERS)
    if n := int(chosen.sum()):
        yield Found(
            "short_outputs",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file have an answer of at most {_VERY_SHORT_CHARACTERS} characters, "
            f"where half of them have {np.median(lengths[used]):.0f} or more. See whether they were cut off.",
            facts.lines(chosen),
        )


def find_repeated_answers(facts: Facts, task: Task) -> Iterator[Found]:
    used = facts.used()
    outputs = facts.column("output")[used]
    if task == Task.CLASSIFICATION or len(outputs) < _ENOUGH_TO_TELL:
        return
    distinct, counts = np.unique(outputs, return_counts=True)
    n = int(counts.max())
    if n >= _SAME * len(outputs):
        yield Found(
            "repeated_outputs",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file ({percent(n, len(outputs))}) have the same answer. The model "
            "would learn to give it whatever it is asked: add others.",
            facts.lines(used)[outputs == distinct[counts.argmax()]],
        )


def find_repeated_words(facts: Facts) -> Iterator[Found]:
    chosen = facts.has(Flag.REPEATED_WORD)
    if n := int(chosen.sum()):
        yield Found(
            "repeated_words",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file have an answer that repeats one word over and over, as a model "
            "does that has got stuck. Correct or remove them.",
            facts.lines(chosen),
        )
