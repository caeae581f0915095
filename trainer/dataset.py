"""What a run trains on and validates with: the examples of its files, cut at the context. No torch here.

Shapes: L length of one example in tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from trainer.contract.report import FileKind, param_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import MethodName, WantedSelection
from trainer.failures import FileUnusable
from trainer.pieces import count_pieces, piece
from trainer.selection import Numbers
from trainer.selection_files import read_selection
from trainer.token_arrays import TokenArrays
from trainer.tokenising import DataFile
from trainer.tokenizer import ChatTokenizer

_RELEASED_EVERY = 4096  # examples


@dataclass(frozen=True)
class TokenizedExample:
    """One sequence; of a preference, the prompt with one of the answers."""

    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]  # the loss mask; the first token is never predicted, so never trained on
    is_desirable: bool = True  # whether what is trained on is to become more likely

    @property
    def n_trained_tokens(self) -> int:
        return int(self.trained_L.sum())


class TokenizedExamples(Sequence[TokenizedExample]):
    """Some examples of one or more files, cut at the context: views of arrays on disk.

    `chosen` has two columns, the number of a file and an example's number in it.
    """

    def __init__(self, files: Sequence[TokenArrays], chosen: Numbers, *, limit_tokens: int) -> None:
        self._files = files
        self._chosen = chosen
        self.limit_tokens = limit_tokens
        self._n_read = 0

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> TokenizedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedExample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedExample | list[TokenizedExample]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return self.sequences(index)[0]

    def sequences(self, index: int) -> tuple[TokenizedExample, ...]:
        """All of an example: two if it is a preference, the preferred answer first."""
        self._n_read += 1
        if self._n_read % _RELEASED_EVERY == 0:
            for arrays in self._files:
                arrays.release()
        file, number = self._chosen[index].tolist()
        kept = self._kept(index)
        return tuple(
            TokenizedExample(whole.input_ids_L[kept], _first_masked(whole.trained_L[kept]), whole.is_desirable)
            for whole in self._files[file][number]
        )

    def _kept(self, index: int) -> slice:  # noqa: ARG002 - of pieces
        """Which part of an example is trained on."""
        return slice(self.limit_tokens)


class DocumentPieces(TokenizedExamples):
    """Some documents, each split at the context into as many examples as it takes."""

    def __init__(self, files: Sequence[TokenArrays], chosen: Numbers, *, limit_tokens: int) -> None:
        counts_N = np.ones(len(chosen), dtype=np.int64)
        for number, arrays in enumerate(files):
            of_file = chosen[:, 0] == number
            counts_N[of_file] = count_pieces(arrays.lengths()[chosen[of_file, 1]], limit_tokens)
        super().__init__(files, np.repeat(chosen, counts_N, axis=0), limit_tokens=limit_tokens)
        self._piece = np.arange(len(self)) - np.repeat(counts_N.cumsum() - counts_N, counts_N)

    def _kept(self, index: int) -> slice:
        return piece(int(self._piece[index]), self.limit_tokens)


def tokenize_files(
    directory: RunDirectory,
    tokenizer: ChatTokenizer,
    *,
    method: MethodName = "supervised",
    context_length_tokens: int,
    redacts: bool = False,
    selection: WantedSelection | None = None,
) -> tuple[TokenizedExamples, TokenizedExamples | None]:
    """What to train on and what to validate with, if anything; tokenise what was not tokenised before.

    What is longer than the context is cut at its end, but plain text is split; what then has nothing to train on is
    dropped. Of what is left, the check has chosen where a selection was wanted.

    Raises:
        FileUnusable: a line is wrong, or no example is left.
        TrainerError: what was chosen is damaged.
    """

    def open_file(path: Path) -> tuple[TokenArrays, Numbers]:
        file = DataFile(directory, path, tokenizer, method=method, redacts=redacts)
        arrays = file.tokens()
        numbers = arrays.usable(context_length_tokens)
        if not len(numbers):
            raise nothing_left(file.kind, len(arrays), context_length_tokens, arrays.longest_tokens)
        return arrays, np.column_stack([np.zeros_like(numbers), numbers])

    def examples(files: Sequence[TokenArrays], chosen: Numbers) -> TokenizedExamples:
        kind = DocumentPieces if method == "continued_pretraining" else TokenizedExamples
        return kind(files, chosen, limit_tokens=context_length_tokens)

    arrays, training = open_file(directory.training_file)
    files, held_out = [arrays], None
    if selection is not None:
        files += [open_file(directory.mixed_in_file(place))[0] for place in range(len(selection.mix_in))]
        training, held_out = read_selection(directory.selection)
    if held_out is not None:
        return examples(files, training), examples(files, held_out)
    if not directory.validation_file.exists():
        return examples(files, training), None
    arrays, validation = open_file(directory.validation_file)
    return examples(files, training), examples([arrays], validation)


def _first_masked(trained_L: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The first token of a piece is never predicted."""
    if not trained_L[:1].any():
        return trained_L
    masked_L = trained_L.copy()
    masked_L[:1] = False
    return masked_L


def nothing_left(kind: FileKind, n_lines: int, context_length_tokens: int, longest_tokens: int) -> FileUnusable:
    """Why a file cannot be used of which every example is dropped."""
    return FileUnusable(
        f"The job failed due to an invalid {kind} file. None of its {n_lines} example(s) can be used: within the "
        f"context of {context_length_tokens} tokens (the longest has {longest_tokens}) no assistant message "
        "with a weight other than 0 begins. Shorten what comes before the answers.",
        param=param_of(kind),
    )
