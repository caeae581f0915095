"""What the checks need to know of each example of a file: a record of fixed size, kept on disk."""

from collections.abc import Iterable
from enum import IntFlag
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract.report import FileKind
from trainer.gate.form import Form, form_of, is_like_code, label_of, repeats_a_word
from trainer.gate.spool import Spool
from trainer.gate.view import View
from trainer.pieces import count_pieces

_FIELDS = [
    ("line", "u4"),
    ("whole", "u8"),  # hashes; 0: there is nothing
    ("input", "u8"),
    ("output", "u8"),
    ("label", "u8"),
    ("system", "u8"),
    ("keys", "u8"),
    ("form", "u1"),
    ("flags", "u1"),
    ("characters", "u4"),
    ("output_characters", "u4"),
    ("tokens", "u4"),
    ("answer_tokens", "u4"),  # inside the loss mask, before cutting
    ("kept_answer_tokens", "u4"),  # and after
    ("other_output", "u8"),  # from here on of a preference's other answer; 0: there is none
    ("other_characters", "u4"),
    ("other_tokens", "u4"),
    ("other_kept_answer_tokens", "u4"),
    ("desirable", "u1"),
]


class Flag(IntFlag):
    EMPTY_ANSWER = 1
    REPEATED_WORD = 2
    LIKE_CODE = 4
    NO_STOP = 8  # an answer ends without a stop token inside the mask
    STOP_INSIDE = 16  # a stop token stands inside an answer


class Facts:
    """Of one file. Rows are added, then the columns are read."""

    def __init__(self, kind: FileKind, path: Path, stop_ids: Iterable[int]) -> None:
        self.kind = kind
        self._stop_ids = np.asarray(sorted(stop_ids), dtype=np.int32)
        self._spool = Spool(path, _FIELDS)

    def add(self, views: list[View]) -> None:
        self._spool.append([self._record(view) for view in views])

    def close(self) -> None:
        self._spool.close()

    @property
    def n_examples(self) -> int:
        return len(self._spool)

    def column(self, name: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self._records[name])

    def lines(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
        """The line numbers of the chosen examples, ascending."""
        return self.column("line")[chosen]

    def has(self, flag: Flag) -> npt.NDArray[np.bool_]:
        chosen: npt.NDArray[np.bool_] = (self.column("flags") & flag) != 0
        return chosen

    def used(self) -> npt.NDArray[np.bool_]:
        """Those of which something is trained on."""
        has_other = self.column("other_tokens") > 0
        chosen: npt.NDArray[np.bool_] = self.column("kept_answer_tokens") > 0
        return chosen & ((self.column("other_kept_answer_tokens") > 0) | ~has_other)

    def pieces(self, piece_tokens: int | None) -> npt.NDArray[np.int64]:
        """As how many examples each is trained on: one, or so many as its text is split into."""
        if piece_tokens is None:
            return np.ones(self.n_examples, dtype=np.int64)
        lengths: npt.NDArray[np.int64] = self.column("tokens").astype(np.int64)
        return count_pieces(lengths, piece_tokens)

    def within(self, limit_tokens: int) -> npt.NDArray[np.int64]:
        """The tokens of each example, after cutting; of a preference of both sequences."""
        within: npt.NDArray[np.int64] = np.zeros(self.n_examples, dtype=np.int64)
        for name in ("tokens", "other_tokens"):
            within += self.column(name).clip(max=limit_tokens)
        return within

    def trained(self) -> npt.NDArray[np.int64]:
        """Those of them inside the loss mask."""
        trained: npt.NDArray[np.int64] = self.column("kept_answer_tokens").astype(np.int64)
        trained += self.column("other_kept_answer_tokens")
        return trained

    def longest(self) -> npt.NDArray[np.uint32]:
        """The longest sequence of each example, before cutting."""
        longest: npt.NDArray[np.uint32] = np.maximum(self.column("tokens"), self.column("other_tokens"))
        return longest

    @cached_property
    def _records(self) -> npt.NDArray[Any]:
        return self._spool.read()

    def _record(self, view: View) -> tuple[int, ...]:
        output = view.output
        form, keys = (Form.CALL, ()) if view.answer.get("tool_calls") else form_of(output)
        n_answer = int(view.trained_L.sum())
        return (
            view.example.line,
            _hash(view.whole_bytes()),
            _hash(view.input_bytes()) if view.has_input else 0,
            _hash(output.encode()),
            _hash(label_of(output).encode()),
            _hash((view.system or "").encode()) if view.system else 0,
            _hash("\0".join(keys).encode()),
            form,
            self._flags(view, output),
            view.n_characters(),
            len(output),
            len(view.input_ids_L),
            n_answer,
            int(view.trained_L[: view.limit_tokens].sum()),
            *_of_other(view),
            view.is_desirable,
        )

    def _flags(self, view: View, output: str) -> int:
        flags = 0
        for answer in view.answers():
            if not answer["content"].strip() and not answer.get("tool_calls"):
                flags |= Flag.EMPTY_ANSWER
            if repeats_a_word(answer["content"]):
                flags |= Flag.REPEATED_WORD
        if is_like_code(output):
            flags |= Flag.LIKE_CODE
        return int(flags | self._stop_flags(view))

    def _stop_flags(self, view: View) -> int:
        """Look at each run of trained tokens: its last one, and only that, shall be a stop token."""
        trained_L = view.trained_L
        is_last_L = trained_L.copy()
        is_last_L[:-1] &= ~trained_L[1:]
        stops_L = np.isin(view.input_ids_L, self._stop_ids)
        flags = Flag.NO_STOP if (is_last_L & ~stops_L).any() else 0
        return int(flags | (Flag.STOP_INSIDE if (trained_L & stops_L & ~is_last_L).any() else 0))


def _of_other(view: View) -> tuple[int, ...]:
    if view.other is None:
        return 0, 0, 0, 0
    output = view.other.output
    kept = int(view.other.trained_L[: view.limit_tokens].sum())
    return _hash(output.encode()), len(output), len(view.other.input_ids_L), kept


def _hash(data: bytes) -> int:
    """Eight bytes, never 0."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1
