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
from trainer.gate.row import Row
from trainer.gate.spool import Spool

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

    def add(self, rows: list[Row]) -> None:
        self._spool.append([self._record(row) for row in rows])

    def close(self) -> None:
        self._spool.close()

    @property
    def n_rows(self) -> int:
        return len(self._spool)

    def column(self, name: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self._records[name])

    def lines(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
        """The line numbers of the chosen rows, ascending."""
        return self.column("line")[chosen]

    def has(self, flag: Flag) -> npt.NDArray[np.bool_]:
        chosen: npt.NDArray[np.bool_] = (self.column("flags") & flag) != 0
        return chosen

    def used(self) -> npt.NDArray[np.bool_]:
        """The rows of which something is trained on."""
        chosen: npt.NDArray[np.bool_] = self.column("kept_answer_tokens") > 0
        return chosen

    @cached_property
    def _records(self) -> npt.NDArray[Any]:
        return self._spool.read()

    def _record(self, row: Row) -> tuple[int, ...]:
        output = row.output
        form, keys = (Form.CALL, ()) if row.answer.get("tool_calls") else form_of(output)
        n_answer = int(row.trained_L.sum())
        return (
            row.example.line,
            _hash(row.whole_bytes()),
            _hash(row.input_bytes()) if row.has_input else 0,
            _hash(output.encode()),
            _hash(label_of(output).encode()),
            _hash((row.system or "").encode()) if row.system else 0,
            _hash("\0".join(keys).encode()),
            form,
            self._flags(row, output),
            row.n_characters(),
            len(output),
            len(row.input_ids_L),
            n_answer,
            int(row.trained_L[: row.limit_tokens].sum()),
        )

    def _flags(self, row: Row, output: str) -> int:
        flags = 0
        for answer in row.answers():
            if not answer["content"].strip() and not answer.get("tool_calls"):
                flags |= Flag.EMPTY_ANSWER
            if repeats_a_word(answer["content"]):
                flags |= Flag.REPEATED_WORD
        if is_like_code(output):
            flags |= Flag.LIKE_CODE
        return int(flags | self._stop_flags(row))

    def _stop_flags(self, row: Row) -> int:
        """Look at each run of trained tokens: its last one, and only that, shall be a stop token."""
        trained_L = row.trained_L
        is_last_L = trained_L.copy()
        is_last_L[:-1] &= ~trained_L[1:]
        stops_L = np.isin(row.input_ids_L, self._stop_ids)
        flags = Flag.NO_STOP if (is_last_L & ~stops_L).any() else 0
        return int(flags | (Flag.STOP_INSIDE if (trained_L & stops_L & ~is_last_L).any() else 0))


def _hash(data: bytes) -> int:
    """Eight bytes, never 0."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1
