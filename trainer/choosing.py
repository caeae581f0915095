"""Choose among the examples of the files that the gate has looked through, and say in numbers what it came to."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract.report import MIXED_IN, CheckReport, FileKind, FileReport
from trainer.contract.spec import WantedSelection
from trainer.gate.facts import Facts
from trainer.gate.gate import Gate
from trainer.selection import Numbers, Pool, Selection, describe_selection, select


def choose(gate: Gate, wanted: WantedSelection, *, has_validation_file: bool) -> Selection:
    """Raises: FileUnusable: it cannot be done with these files."""
    groups = gate.groups()

    def pool(kind: FileKind) -> Pool:
        numbers = np.flatnonzero(gate.facts(kind).used()).astype(np.uint32)
        return Pool(numbers, groups[kind][numbers])

    mixed_in = [pool(kind) for kind in MIXED_IN[: len(wanted.mix_in)]]
    apart = pool("validation").groups if has_validation_file else None
    return select(pool("training"), mixed_in, wanted, validation_groups=apart)


def report_chosen(
    gate: Gate, reports: Mapping[FileKind, FileReport], selection: Selection, wanted: WantedSelection
) -> CheckReport:
    """What is trained on and validated with, as if it were the files."""
    training = reports["training"]
    validation = reports.get("validation")
    if selection.validation is not None:
        held_out = training.model_copy(update={"figures": None, "dropped_lines": (), "n_tokenised": 0})
        validation = _recount(gate, held_out, selection.validation)
    return CheckReport(
        training=_recount(gate, training, selection.training),
        validation=validation,
        selection=describe_selection(selection, wanted, n_usable=int(gate.facts("training").used().sum())),
        findings=gate.findings(),
    )


def _recount(gate: Gate, report: FileReport, chosen: Numbers) -> FileReport:
    """The report of a file in the numbers of what was chosen of it, and of the files mixed into it."""
    tokens = _of_each(gate, gate.tokens, chosen)
    longest = _of_each(gate, lambda facts: facts.longest(), chosen)
    facts, own = gate.facts("training"), np.unique(chosen[chosen[:, 0] == 0, 1])
    is_cut = facts.column("kept_answer_tokens")[own] < facts.column("answer_tokens")[own]
    return report.model_copy(
        update={
            "n_examples": int(_of_each(gate, gate.pieces, chosen).sum()),
            "n_tokens": int(tokens.sum()),
            "n_trained_tokens": int(_of_each(gate, lambda facts: facts.trained(), chosen).sum()),
            "n_desirable": int(_of_each(gate, lambda facts: facts.column("desirable"), chosen).sum(dtype=np.int64)),
            "longest_tokens": int(longest.max()),
            "truncated_lines": tuple(facts.column("line")[own[is_cut]].tolist()),
        }
    )


def _of_each(gate: Gate, figure: Callable[[Facts], npt.NDArray[Any]], chosen: Numbers) -> npt.NDArray[Any]:
    """Of each chosen example, whichever file it is of."""
    kinds: list[FileKind] = ["training", *MIXED_IN]
    files = np.unique(chosen[:, 0]).tolist()
    return np.concatenate([figure(gate.facts(kinds[file]))[chosen[chosen[:, 0] == file, 1]] for file in files])
