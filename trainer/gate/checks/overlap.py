"""What validation measures if its examples are trained on: memory."""

from collections.abc import Iterator

import numpy as np

from trainer.contract.report import Severity
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent
from trainer.gate.likeness import Likeness

_MANY_NEARLY_EQUAL = 0.2  # of the validation examples


def find_overlap(training: Facts, validation: Facts, likeness: Likeness) -> Iterator[Found]:
    """Of the validation file: what is in the training file, too."""
    n_all = validation.n_examples
    is_same = np.isin(validation.column("whole"), training.column("whole"))
    if n := int(is_same.sum()):
        yield Found(
            "overlap",
            Severity.WARNING,
            f"{n} example(s) of the validation file ({percent(n, n_all)}) are in the training file, too. Remove them "
            "from one of the two: on them the validation loss measures memory, not learning.",
            validation.lines(is_same),
        )
    is_near = (likeness.wholes_of("validation") < likeness.n_training) & ~is_same
    if n := int(is_near.sum()):
        yield Found(
            "near_overlap",
            Severity.WARNING if n >= _MANY_NEARLY_EQUAL * n_all else Severity.INFO,
            f"{n} example(s) of the validation file ({percent(n, n_all)}) are nearly the same as one of the training "
            "file. Split by source or by topic instead of at random.",
            validation.lines(is_near),
        )
