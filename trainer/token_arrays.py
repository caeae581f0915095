"""The tokens of a file as arrays on disk: written a batch at a time, read where they lie.

Shapes: L length of one sequence in tokens, N examples, S sequences of an example.
"""

import mmap
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trainer.contract.checkpoint import is_complete, publish_directory, seal
from trainer.contract.tokens import TokensKey, TokensSummary, read_summary, write_summary

_ARRAYS = ("ids", "mask", "offsets", "lines", "first_trained", "desirable")
_STAGED = ".staged-"


@dataclass(frozen=True)
class Tokens:
    """Of one sequence, whole. The loss mask never has the first token: it is never predicted, so never trained on."""

    line: int
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]
    is_desirable: bool = True  # whether what is trained on is to become more likely


class TokenWriter:
    """Writes beside `final` and, once published, is there under that name; without that, nothing is kept of it."""

    def __init__(self, final: Path, *, sequences_per_example: int = 1) -> None:
        self._final = final
        self._sequences_per_example = sequences_per_example
        self._staged = final.with_name(_STAGED + final.name)
        self._n_sequences = self._n_tokens = self._longest = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._staged, ignore_errors=True)
        self._staged.mkdir()
        self._files = {name: (self._staged / name).open("wb") for name in _ARRAYS}
        self._write("offsets", np.zeros(1, dtype=np.int64))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._staged, ignore_errors=True)

    def add(self, batch: Sequence[Tokens]) -> None:
        """The sequences of some examples, all of each."""
        if not batch:
            return
        lengths = np.array([len(tokens.input_ids_L) for tokens in batch], dtype=np.int64)
        first = [int(tokens.trained_L.argmax()) if tokens.trained_L.any() else -1 for tokens in batch]
        self._write("ids", np.concatenate([tokens.input_ids_L for tokens in batch]).astype(np.int32, copy=False))
        self._write("mask", np.concatenate([tokens.trained_L for tokens in batch]).astype(np.uint8))
        self._write("offsets", self._n_tokens + lengths.cumsum())
        self._write("lines", np.array([tokens.line for tokens in batch], dtype=np.uint32))
        self._write("first_trained", np.array(first, dtype=np.int32))
        self._write("desirable", np.array([tokens.is_desirable for tokens in batch], dtype=np.uint8))
        self._n_sequences += len(batch)
        self._n_tokens += int(lengths.sum())
        self._longest = max(self._longest, int(lengths.max()))

    def publish(self, key: TokensKey) -> None:
        """Seal what was added and give it its name, in the place of what was there."""
        for file in self._files.values():
            file.close()
        summary = TokensSummary(
            key=key,
            n_examples=self._n_sequences // self._sequences_per_example,
            sequences_per_example=self._sequences_per_example,
            n_tokens=self._n_tokens,
            longest_tokens=self._longest,
        )
        write_summary(self._staged, summary)
        seal(self._staged)
        shutil.rmtree(self._final, ignore_errors=True)
        publish_directory(self._staged, self._final)

    def _write(self, name: str, array: npt.NDArray[Any]) -> None:
        self._files[name].write(array.tobytes())


class TokenArrays:
    """The examples of a file, in its order, as views of the files: they cost no memory of their own."""

    def __init__(self, directory: Path, summary: TokensSummary) -> None:
        self._mappings: list[mmap.mmap] = []
        self._ids = self._map(directory / "ids", np.int32)
        self._mask = self._map(directory / "mask", np.bool_)
        self._offsets = self._map(directory / "offsets", np.int64)
        self._lines = self._map(directory / "lines", np.uint32)
        self._desirable = self._map(directory / "desirable", np.bool_)
        self._first_trained = self._map(directory / "first_trained", np.int32)
        self._per_example = summary.sequences_per_example
        self._n_examples = summary.n_examples
        self.longest_tokens = summary.longest_tokens

    def __len__(self) -> int:
        return self._n_examples

    def __getitem__(self, index: int) -> tuple[Tokens, ...]:
        """The sequences of an example."""
        first = index * self._per_example
        return tuple(self._sequence(at) for at in range(first, first + self._per_example))

    def usable(self, limit_tokens: int) -> npt.NDArray[np.uint32]:
        """The numbers of the examples of which, in each sequence, something is trained on before the limit."""
        first_NS = self._first_trained.reshape(-1, self._per_example)
        return np.flatnonzero(((first_NS >= 0) & (first_NS < limit_tokens)).all(axis=1)).astype(np.uint32)

    def _sequence(self, at: int) -> Tokens:
        start, end = int(self._offsets[at]), int(self._offsets[at + 1])
        return Tokens(int(self._lines[at]), self._ids[start:end], self._mask[start:end], bool(self._desirable[at]))

    def lengths(self) -> npt.NDArray[np.int64]:
        """In tokens, of the first sequence of each example."""
        lengths_N: npt.NDArray[np.int64] = np.diff(self._offsets)[:: self._per_example]
        return lengths_N

    def release(self) -> None:
        """Give back the memory of what has been read; views stay good, and read from the disk again."""
        for mapping in self._mappings:
            mapping.madvise(mmap.MADV_DONTNEED)

    def _map(self, path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return np.empty(0, dtype=dtype)
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mappings.append(mapping)
        return np.frombuffer(mapping, dtype=dtype)


def open_tokens(directory: Path, key: TokensKey) -> TokenArrays | None:
    """The arrays in a directory; None if they are damaged, of something else, or not there. Reads all of them once."""
    summary = read_summary(directory)
    if summary is None or summary.key != key or not is_complete(directory):
        return None
    return TokenArrays(directory, summary)
