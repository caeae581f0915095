"""The classes of a classification: whether they are balanced, and whether each has one spelling."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.contract.report import MAX_CLASSES_NAMED, OutputClass, Severity, Task
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent

_TOO_LARGE = 0.8  # of the examples
_TOO_SMALL = 5  # examples
_ENOUGH_TO_TELL = 50  # examples


@dataclass(frozen=True)
class Classes:
    """Of the examples that something is trained on."""

    members: npt.NDArray[np.bool_]  # which examples these are
    group: npt.NDArray[np.int64]  # the class of each of them
    counts: npt.NDArray[np.int64]  # by class
    firsts: npt.NDArray[np.int64]  # by class: where among the members it occurs first


def classes_of(facts: Facts) -> Classes:
    members = facts.used()
    labels = facts.column("label")[members]
    _, firsts, group, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    return Classes(members, group, counts, firsts)


def named_classes(facts: Facts, task: Task) -> tuple[tuple[OutputClass, ...], int]:
    """The largest classes, and how many there are; none if the task is not a classification."""
    if task != Task.CLASSIFICATION:
        return (), 0
    classes = classes_of(facts)
    lines = facts.lines(classes.members)
    largest = np.lexsort((classes.firsts, -classes.counts))[:MAX_CLASSES_NAMED]
    named = (
        OutputClass(first_line=int(lines[classes.firsts[which]]), n_examples=int(classes.counts[which]))
        for which in largest
    )
    return tuple(named), len(classes.counts)


def find_imbalance(facts: Facts, task: Task) -> Iterator[Found]:
    if task != Task.CLASSIFICATION or facts.kind != "training":
        return
    classes = classes_of(facts)
    lines = facts.lines(classes.members)
    n, largest = len(lines), int(classes.counts.max())
    if n < _ENOUGH_TO_TELL:
        return
    if largest >= _TOO_LARGE * n:
        others = classes.group != classes.counts.argmax()
        yield Found(
            "class_balance",
            Severity.WARNING,
            f"{percent(largest, n)} of the training file has one and the same answer; {n - largest} example(s) have "
            f"one of the other {len(classes.counts) - 1}. Add examples of those, or remove some of the large class: "
            "always giving its answer would nearly do.",
            lines[others],
        )
    is_small = (classes.counts < _TOO_SMALL)[classes.group]
    if is_small.any():
        yield Found(
            "rare_classes",
            Severity.WARNING,
            f"{int((classes.counts < _TOO_SMALL).sum())} of {len(classes.counts)} classes of the training file have "
            f"fewer than {_TOO_SMALL} examples, {int(is_small.sum())} in all. Add some, or leave those classes out.",
            lines[is_small],
        )


def find_spellings(facts: Facts, task: Task) -> Iterator[Found]:
    """Of each class: the examples whose answer is not written as in most of its examples."""
    if task != Task.CLASSIFICATION:
        return
    classes = classes_of(facts)
    _, spelling = np.unique(facts.column("output")[classes.members], return_inverse=True)
    counts = np.bincount(spelling)[spelling]
    most = np.zeros(len(classes.counts), dtype=np.int64)
    np.maximum.at(most, classes.group, counts)
    is_odd = counts < most[classes.group]
    if n := int(is_odd.sum()):
        yield Found(
            "label_spelling",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file write their class otherwise than most of it does (upper and "
            "lower case, punctuation or white space). Write each class in one way.",
            facts.lines(classes.members)[is_odd],
        )
