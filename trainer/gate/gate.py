"""The data gate: every check over both files, in one reading of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.contract.formats.names import FileFormat
from trainer.contract.report import FileFigures, FileKind, FileReport, Finding, Task
from trainer.contract.spec import MethodName, PiiPolicy
from trainer.gate.checks.amount import find_too_few, find_too_little_text
from trainer.gate.checks.answers import (
    find_empty_answers,
    find_repeated_answers,
    find_repeated_words,
    find_short_answers,
)
from trainer.gate.checks.classes import find_imbalance, find_spellings, named_classes
from trainer.gate.checks.diversity import find_sameness
from trainer.gate.checks.forms import find_odd_forms, find_odd_keys
from trainer.gate.checks.lengths import find_cut, find_outliers, find_untrained, histogram
from trainer.gate.checks.overlap import find_overlap
from trainer.gate.checks.personal_data import find_personal_data
from trainer.gate.checks.preferences import find_in_answers, find_in_pairs
from trainer.gate.checks.repetition import find_contradictions, find_duplicates, find_near_duplicates
from trainer.gate.checks.stops import find_stops
from trainer.gate.checks.system_prompts import find_odd_system_prompts
from trainer.gate.clusters import join_groups
from trainer.gate.facts import Facts
from trainer.gate.found import Found, most_severe_first
from trainer.gate.likeness import Likeness, compare
from trainer.gate.signatures import Signatures
from trainer.gate.task import guess_task
from trainer.gate.view import View
from trainer.pii.examples import PiiTally

WHOLE = 2**31 - 1  # tokens: nothing is cut


@dataclass
class _File:
    facts: Facts
    tally: PiiTally


class Gate:
    """Is fed the training file, then the others, one after the other, then asked.

    Holds no example: what the checks need is in `directory`, about 600 bytes an example.
    """

    def __init__(
        self,
        directory: Path,
        *,
        stop_ids: Iterable[int],
        limit_tokens: int,
        common: frozenset[str] = frozenset(),
        pii: PiiPolicy = "off",
        method: MethodName = "supervised",
    ) -> None:
        splits = method == "continued_pretraining"
        self._directory = directory
        self.limit_tokens = WHOLE if splits else limit_tokens
        self._piece_tokens = limit_tokens if splits else None
        self._stop_ids = frozenset(stop_ids)
        self._pii = pii
        self._method = method
        self._signatures = Signatures(directory, common)
        self._files: dict[FileKind, _File] = {}

    def tally(self, kind: FileKind) -> PiiTally:
        """Where the personal data of a file is counted."""
        return self._file(kind).tally

    def add(self, kind: FileKind, views: list[View]) -> None:
        """The next examples of a file. The training file goes first."""
        facts = self._file(kind).facts
        first, *_, last = (*self._files, kind)
        if first != "training" or list(self._files)[-1] != last:
            raise ValueError("the training file goes first, and no file is gone back to")
        facts.add(views)
        self._signatures.add(views)

    def close(self) -> None:
        self._signatures.close()
        for file in self._files.values():
            file.facts.close()

    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found in both files, most severe first."""
        found = [found.of(kind) for kind in self._files for found in self._find(kind, self._likeness)]
        return most_severe_first(found)

    def facts(self, kind: FileKind) -> Facts:
        return self._files[kind].facts

    def pieces(self, facts: Facts) -> npt.NDArray[np.int64]:
        """As how many examples each is trained on."""
        return facts.pieces(self._piece_tokens)

    def tokens(self, facts: Facts) -> npt.NDArray[np.int64]:
        """Of each, after cutting; each piece but the first begins with one token again."""
        return facts.within(self.limit_tokens) + self.pieces(facts) - 1

    def groups(self) -> dict[FileKind, npt.NDArray[np.uint32]]:
        """Of each example of each file its group: those that are the same, or nearly, over all files."""
        wholes = np.concatenate([file.facts.column("whole") for file in self._files.values()]).view(np.int64)
        groups = join_groups(wholes, self._likeness.wholes.astype(np.int64))
        return {kind: groups[place] for kind, place in self._likeness.places.items()}

    @cached_property
    def _likeness(self) -> Likeness:
        """Once all files were added."""
        places: dict[FileKind, slice] = {}
        start = 0
        for kind, file in self._files.items():
            places[kind] = slice(start, start + file.facts.n_examples)
            start = places[kind].stop
        return compare(self._signatures, places)

    def report(self, kind: FileKind, file_format: FileFormat) -> FileReport:
        file = self._files[kind]
        facts = file.facts
        used, kept = facts.used(), facts.column("kept_answer_tokens")
        return FileReport(
            format=file_format,
            n_examples=int(self.pieces(facts)[used].sum()),
            n_tokens=int(self.tokens(facts)[used].sum()),
            n_trained_tokens=int(facts.trained().sum()),
            n_desirable=int(facts.column("desirable")[used].sum()),
            longest_tokens=int(facts.longest().max(initial=0)),
            truncated_lines=tuple(facts.lines(used & (kept < facts.column("answer_tokens"))).tolist()),
            dropped_lines=tuple(facts.lines(~used).tolist()),
            figures=self._figures(file),
        )

    def _figures(self, file: _File) -> FileFigures:
        task = guess_task(file.facts)
        classes, n_classes = named_classes(file.facts, task)
        return FileFigures(
            task=task,
            tokens=histogram(file.facts.column("tokens")),
            characters=histogram(file.facts.column("characters")),
            answer_tokens=histogram(file.facts.column("answer_tokens")),
            classes=classes,
            n_classes=n_classes,
            n_redacted=file.tally.n_examples if self._pii == "redact" else 0,
        )

    def _find(self, kind: FileKind, likeness: Likeness) -> Iterator[Found]:
        file = self._files[kind]
        yield from find_duplicates(file.facts)
        yield from find_near_duplicates(file.facts, likeness)
        if self._pii != "off":
            yield from find_personal_data(kind, file.tally, self._pii)
        if kind == "validation":
            yield from find_overlap(self._files["training"].facts, file.facts, likeness)
        if self._piece_tokens is None:
            yield from self._find_in_conversations(kind, likeness)
        elif kind == "training":
            yield from find_too_little_text(int(self.pieces(file.facts)[file.facts.used()].sum()))

    def _find_in_conversations(self, kind: FileKind, likeness: Likeness) -> Iterator[Found]:
        """What plain text cannot have."""
        facts = self._files[kind].facts
        task = guess_task(self._files["training"].facts)
        yield from _find_in_one(facts, task, self._method)
        if kind == "training":
            yield from find_too_few(facts, task)
            yield from find_sameness(facts, task, likeness)

    def _file(self, kind: FileKind) -> _File:
        if kind not in self._files:
            path = self._directory / f"{kind}.facts"
            self._files[kind] = _File(Facts(kind, path, self._stop_ids), PiiTally())
        return self._files[kind]


def _find_in_one(facts: Facts, task: Task, method: MethodName) -> Iterator[Found]:
    yield from find_stops(facts)
    yield from find_untrained(facts)
    yield from find_cut(facts)
    match method:
        case "supervised":
            yield from find_contradictions(facts, task)
        case "kto":
            yield from find_in_answers(facts)
        case _:
            yield from find_in_pairs(facts)
    yield from find_imbalance(facts, task)
    yield from find_spellings(facts, task)
    yield from find_odd_forms(facts)
    yield from find_odd_keys(facts)
    yield from find_odd_system_prompts(facts)
    yield from find_empty_answers(facts)
    yield from find_short_answers(facts)
    yield from find_repeated_answers(facts, task)
    yield from find_repeated_words(facts)
    yield from find_outliers(facts)
