"""What a run trains on and validates with: the examples of its files, cut at the context. No torch here.

Shapes: L length of one example in tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from trainer.contract.report import FileKind
from trainer.contract.run_directory import RunDirectory
from trainer.failures import FileUnusable
from trainer.token_arrays import TokenArrays
from trainer.tokenising import DataFile
from trainer.tokenizer import ChatTokenizer

_RELEASED_EVERY = 4096  # examples


@dataclass(frozen=True)
class TokenizedExample:
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]  # the loss mask; the first token is never predicted, so never trained on

    @property
    def n_trained_tokens(self) -> int:
        return int(self.trained_L.sum())


class TokenizedFile(Sequence[TokenizedExample]):
    """The examples of a file that can be trained on, in the file's order: views of arrays on disk."""

    def __init__(self, arrays: TokenArrays, *, limit_tokens: int) -> None:
        first = arrays.first_trained_N
        self._arrays = arrays
        self._limit_tokens = limit_tokens
        self._usable = np.flatnonzero((first >= 0) & (first < limit_tokens))
        self._n_read = 0

    def __len__(self) -> int:
        return len(self._usable)

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedExample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedExample | list[TokenizedExample]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        self._n_read += 1
        if self._n_read % _RELEASED_EVERY == 0:
            self._arrays.release()
        whole = self._arrays[int(self._usable[index])]
        return TokenizedExample(whole.input_ids_L[: self._limit_tokens], whole.trained_L[: self._limit_tokens])


def tokenize_files(
    directory: RunDirectory, tokenizer: ChatTokenizer, *, context_length_tokens: int, redacts: bool = False
) -> tuple[TokenizedFile, TokenizedFile | None]:
    """Open the training file and the validation file, if there is one; tokenise what was not tokenised before.

    What is longer than the context is cut at its end; what then has nothing to train on is dropped.

    Raises:
        FileUnusable: a line is wrong, or no example is left.
    """

    def open_file(path: Path) -> TokenizedFile:
        file = DataFile(directory, path, tokenizer, redacts=redacts)
        arrays = file.tokens()
        tokenized = TokenizedFile(arrays, limit_tokens=context_length_tokens)
        if not len(tokenized):
            raise nothing_left(file.kind, len(arrays), context_length_tokens, arrays.longest_tokens)
        return tokenized

    training = open_file(directory.training_file)
    return training, open_file(directory.validation_file) if directory.validation_file.exists() else None


def nothing_left(kind: FileKind, n_lines: int, context_length_tokens: int, longest_tokens: int) -> FileUnusable:
    """Why a file cannot be used of which every example is dropped."""
    return FileUnusable(
        f"The job failed due to an invalid {kind} file. None of its {n_lines} example(s) can be used: within the "
        f"context of {context_length_tokens} tokens (the longest has {longest_tokens}) no assistant message "
        "with a weight other than 0 begins. Shorten what comes before the answers.",
        param=f"{kind}_file",
    )
