"""Which examples a job trains on and which it holds out: pure, the same for the same sizes, groups and seed.

An example is told by the number of its file (0: the training file, then the mixed-in ones) and its number in that file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainer.contract.report import MIXED_IN, MixedInReport, SelectionReport
from trainer.contract.spec import WantedSelection
from trainer.failures import FileUnusable

Numbers = npt.NDArray[np.uint32]
_PILOT, _HOLDOUT, _MIX_IN = range(3)  # each draws for itself


@dataclass(frozen=True)
class Pool:
    """The examples of one file that can be trained on."""

    numbers: Numbers  # of each in its file, ascending
    groups: Numbers  # equal where two are the same or nearly the same, over all files


@dataclass(frozen=True)
class Drawn:
    """From one mixed-in file."""

    n_usable: int  # without what is like a validation example
    n_examples: int
    is_repeated: bool  # there were too few


@dataclass(frozen=True)
class Selection:
    training: Numbers  # two columns: file and number
    validation: Numbers | None = None  # likewise; None: nothing was held out
    n_groups_held_out: int = 0
    n_own: int = 0  # training examples of the training file
    mixed_in: tuple[Drawn, ...] = field(default=())


def select(
    own: Pool, mix_in: Sequence[Pool], wanted: WantedSelection, *, validation_groups: Numbers | None = None
) -> Selection:
    """Sample a pilot, hold out of it, and add to what is left, in this order.

    `validation_groups` are those of a validation file. What is mixed in is never like a validation example.

    Raises:
        FileUnusable: there is nothing to hold out, or nothing to mix in.
    """
    if wanted.pilot is not None and wanted.pilot < len(own.numbers):
        chosen = np.sort(_generator(wanted.seed, _PILOT).permutation(len(own.numbers))[: wanted.pilot])
        own = Pool(own.numbers[chosen], own.groups[chosen])
    held_out = np.zeros(len(own.numbers), dtype=np.bool_)
    if wanted.holdout is not None:
        held_out = hold_out(own.groups, wanted.holdout, wanted.seed)
    apart = [own.groups[held_out], *([] if validation_groups is None else [validation_groups])]
    trained = own.numbers[~held_out]
    parts, drawn = [_of_file(0, trained)], []
    for number, (pool, asked) in enumerate(zip(mix_in, wanted.mix_in, strict=True)):
        usable = pool.numbers[~np.isin(pool.groups, np.concatenate(apart))]
        if not len(usable):
            raise FileUnusable(
                f"Nothing of the file {asked.file_id} can be mixed in: all of its examples are like examples of the "
                f"validation set. Take it out of 'data.mix_in'.",
                param=f"data.{MIXED_IN[number]}.file",
            )
        n_examples = max(1, round(asked.ratio * len(trained)))
        parts.append(_of_file(number + 1, draw(usable, n_examples, seed=wanted.seed, stream=number)))
        drawn.append(Drawn(len(usable), n_examples, is_repeated=n_examples > len(usable)))
    return Selection(
        training=np.concatenate(parts),
        validation=None if wanted.holdout is None else _of_file(0, own.numbers[held_out]),
        n_groups_held_out=len(np.unique(own.groups[held_out])),
        n_own=len(trained),
        mixed_in=tuple(drawn),
    )


def describe_selection(selection: Selection, wanted: WantedSelection, *, n_usable: int) -> SelectionReport:
    """In numbers; `n_usable` is of the training file."""
    n_held_out = 0 if selection.validation is None else len(selection.validation)
    mixed_in = [
        MixedInReport(file_id=asked.file_id, n_usable=of.n_usable, n_examples=of.n_examples, is_repeated=of.is_repeated)
        for asked, of in zip(wanted.mix_in, selection.mixed_in, strict=True)
    ]
    return SelectionReport(
        seed=wanted.seed,
        n_usable=n_usable,
        pilot=None if wanted.pilot is None else selection.n_own + n_held_out,
        holdout=wanted.holdout,
        n_held_out=n_held_out,
        n_groups_held_out=selection.n_groups_held_out,
        n_own=selection.n_own,
        mixed_in=tuple(mixed_in),
    )


def hold_out(groups: Numbers, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose whole groups that come to this share of the examples, or as near below it as the order drawn allows.

    If every group is larger than that, the smallest is held out.

    Raises:
        FileUnusable: there is only one group.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise FileUnusable(
            f"No validation set can be held out: the {len(groups)} example(s) of the training file are all the same, "
            "or nearly. Add other examples, or leave 'data.holdout' out and name a 'validation_file'.",
            param="data.holdout",
        )
    room = max(1, round(share * len(groups)))
    order = _generator(seed, _HOLDOUT).permutation(len(names))
    chosen = np.zeros(len(names), dtype=np.bool_)
    for group in order:
        if sizes[group] <= room:
            chosen[group] = True
            room -= int(sizes[group])
        if room == 0:
            break
    if not chosen.any():
        chosen[order[sizes[order].argmin()]] = True
    held_out: npt.NDArray[np.bool_] = chosen[member]
    return held_out


def draw(numbers: Numbers, n_examples: int, *, seed: int, stream: int) -> Numbers:
    """Draw so many, each as often as any other if there are too few, or once more."""
    times, rest = divmod(n_examples, len(numbers))
    chosen = np.sort(_generator(seed, _MIX_IN, stream).permutation(len(numbers))[:rest])
    return np.concatenate([*[numbers] * times, numbers[chosen]])


def _of_file(file: int, numbers: Numbers) -> Numbers:
    return np.column_stack([np.full(len(numbers), file, dtype=np.uint32), numbers.astype(np.uint32)])


def _generator(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seeds))
