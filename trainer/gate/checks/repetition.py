"""Examples that say the same, and examples that say different things to the same input."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainer.contract.report import Severity, Task
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent, repeats
from trainer.gate.likeness import Likeness

_MANY_DUPLICATES = 0.01  # of the examples
_MANY_NEAR_DUPLICATES = 0.1
_MANY_CONTRADICTIONS = 0.05
_ONE_INPUT_FOR_ALL = 0.5
_ONE_RIGHT_ANSWER = (Task.CLASSIFICATION, Task.EXTRACTION)


def find_duplicates(facts: Facts) -> Iterator[Found]:
    chosen = repeats(facts.column("whole"))
    n = int(chosen.sum())
    if n:
        yield Found(
            "duplicates",
            Severity.WARNING if n >= _MANY_DUPLICATES * facts.n_examples else Severity.INFO,
            f"{n} example(s) of the {facts.kind} file ({percent(n, facts.n_examples)}) are the same as an earlier one. "
            "Remove them: what stands twice is learnt twice as hard.",
            facts.lines(chosen),
        )


def find_near_duplicates(facts: Facts, likeness: Likeness) -> Iterator[Found]:
    leaders = _own(facts, likeness)
    chosen = (leaders != np.arange(facts.n_examples)) & ~repeats(facts.column("whole"))
    n = int(chosen.sum())
    if n:
        yield Found(
            "near_duplicates",
            Severity.WARNING if n >= _MANY_NEAR_DUPLICATES * facts.n_examples else Severity.INFO,
            f"{n} example(s) of the {facts.kind} file ({percent(n, facts.n_examples)}) are nearly the same as an "
            "earlier one. Keep one of each kind, or make them differ: they add cost and little else.",
            facts.lines(chosen),
        )


def find_contradictions(facts: Facts, task: Task) -> Iterator[Found]:
    inputs = facts.column("input")
    outputs = facts.column("label" if task == Task.CLASSIFICATION else "output")
    chosen = _contradicting(inputs, outputs)
    n = int(chosen.sum())
    if not n:
        return
    _, counts = np.unique(inputs, return_counts=True)
    is_by_design = task not in _ONE_RIGHT_ANSWER and (
        n < _MANY_CONTRADICTIONS * facts.n_examples or counts.max() >= _ONE_INPUT_FOR_ALL * facts.n_examples
    )
    yield Found(
        "contradictions",
        Severity.INFO if is_by_design else Severity.WARNING,
        f"{n} example(s) of the {facts.kind} file give different answers to the same input. Keep one answer, or add to "
        "the input what the answer depends on: the model cannot learn both.",
        facts.lines(chosen),
    )


def _contradicting(inputs: npt.NDArray[np.uint64], outputs: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Of each input that has more than one output, all examples; examples without an input are none."""
    order = np.argsort(inputs, kind="stable")
    inputs, outputs = inputs[order], outputs[order]
    starts = np.flatnonzero(np.concatenate([[True], inputs[1:] != inputs[:-1]]))
    differs = np.minimum.reduceat(outputs, starts) != np.maximum.reduceat(outputs, starts)
    differs &= inputs[starts] != 0
    chosen = np.empty(len(order), dtype=np.bool_)
    chosen[order] = np.repeat(differs, np.diff(np.append(starts, len(order))))
    return chosen


def _own(facts: Facts, likeness: Likeness) -> npt.NDArray[np.int64]:
    """Each example's leader within its own file."""
    _, firsts, group = np.unique(likeness.wholes_of(facts.kind), return_index=True, return_inverse=True)
    return firsts[group]  # one that leads from another file leads here through its first follower
