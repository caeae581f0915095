"""A data file → token ids and loss masks, and the report of what became of its lines. No torch here.

Shapes: L length of one example in tokens.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.contract.examples import ChatExample, format_of, read_examples
from trainer.contract.formats.names import FileFormat
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import FileKind, FileReport
from trainer.contract.run_directory import RunDirectory
from trainer.failures import FileUnusable
from trainer.pii.examples import redact
from trainer.rendering import Rendering, TemplateRefused
from trainer.tokenizer import ChatTokenizer

_TOKENISED_AT_ONCE = 256  # examples


@dataclass(frozen=True)
class TokenizedExample:
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]  # the loss mask; the first token is never predicted, so never trained on

    @property
    def n_trained_tokens(self) -> int:
        return int(self.trained_L.sum())


@dataclass
class TokenizedFile:
    """The examples of a file that can be trained on, in the file's order."""

    format: FileFormat
    examples: list[TokenizedExample] = field(default_factory=list)
    longest_tokens: int = 0
    truncated_lines: list[int] = field(default_factory=list)
    dropped_lines: list[int] = field(default_factory=list)

    def report(self) -> FileReport:
        return FileReport(
            format=self.format,
            n_examples=len(self.examples),
            n_tokens=sum(len(example.input_ids_L) for example in self.examples),
            n_trained_tokens=sum(example.n_trained_tokens for example in self.examples),
            longest_tokens=self.longest_tokens,
            truncated_lines=tuple(self.truncated_lines),
            dropped_lines=tuple(self.dropped_lines),
        )


def tokenize_files(
    directory: RunDirectory, tokenizer: ChatTokenizer, *, context_length_tokens: int, redacts: bool = False
) -> tuple[TokenizedFile, TokenizedFile | None]:
    """Tokenise the training file and the validation file, if there is one.

    What is longer than the context is cut at its end; what then has nothing to train on is dropped.

    Raises:
        FileUnusable: a line is wrong, or no example is left.
    """

    def tokenize(path: Path, kind: FileKind) -> TokenizedFile:
        file = TokenizedFile(read_format(path, kind))
        for batch in tokenize_in_batches(path, tokenizer, kind, prepare=redact if redacts else None):
            for tokenized in batch:
                _add(file, tokenized, context_length_tokens)
        if not file.examples:
            raise nothing_left(kind, len(file.dropped_lines), context_length_tokens, file.longest_tokens)
        return file

    training = tokenize(directory.training_file, "training")
    if not directory.validation_file.exists():
        return training, None
    return training, tokenize(directory.validation_file, "validation")


@dataclass(frozen=True)
class WholeExample:
    """An example and its tokens, before anything is cut."""

    example: ChatExample
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]


def tokenize_in_batches(
    path: Path,
    tokenizer: ChatTokenizer,
    kind: FileKind,
    *,
    prepare: Callable[[ChatExample], ChatExample] | None = None,
) -> Iterator[list[WholeExample]]:
    """Yield all examples of a file, some at a time; `prepare` changes each before it is rendered.

    Raises:
        FileUnusable: a line is wrong.
    """
    examples = _read(path, kind)
    for batch in _batches(examples if prepare is None else map(prepare, examples)):
        renderings = [_render(example, tokenizer, kind) for example in batch]
        tokenized = []
        for example, (ids_L, mask_L) in zip(batch, tokenizer.encode(renderings), strict=True):
            mask_L[:1] = False
            tokenized.append(WholeExample(example, ids_L, mask_L))
        yield tokenized


def nothing_left(kind: FileKind, n_lines: int, context_length_tokens: int, longest_tokens: int) -> FileUnusable:
    """Why a file cannot be used of which every example is dropped."""
    return FileUnusable(
        f"The job failed due to an invalid {kind} file. None of its {n_lines} example(s) can be used: within the "
        f"context of {context_length_tokens} tokens (the longest has {longest_tokens}) no assistant message "
        "with a weight other than 0 begins. Shorten what comes before the answers.",
        param=f"{kind}_file",
    )


def read_format(path: Path, kind: FileKind) -> FileFormat:
    """Raises: FileUnusable: the file is in no format that is known."""
    try:
        return format_of(path)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _read(path: Path, kind: FileKind) -> Iterator[ChatExample]:
    try:
        yield from read_examples(path)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _unusable(error: ExampleInvalid, kind: FileKind) -> FileUnusable:
    return FileUnusable(error.job_message(is_validation_file=kind == "validation"), param=f"{kind}_file")


def _render(example: ChatExample, tokenizer: ChatTokenizer, kind: FileKind) -> Rendering:
    try:
        return tokenizer.renderer.render(example)
    except TemplateRefused as error:
        raise FileUnusable(
            f"The job failed due to an invalid {kind} file. The base model's chat template refuses line "
            f"{example.line}; often user and assistant must take turns, or tools are not supported.",
            param=f"{kind}_file",
        ) from error


def _add(file: TokenizedFile, whole: WholeExample, limit_tokens: int) -> None:
    file.longest_tokens = max(file.longest_tokens, len(whole.input_ids_L))
    example = TokenizedExample(whole.input_ids_L[:limit_tokens].copy(), whole.trained_L[:limit_tokens].copy())
    if example.n_trained_tokens == 0:
        file.dropped_lines.append(whole.example.line)
        return
    if whole.trained_L[limit_tokens:].any():
        file.truncated_lines.append(whole.example.line)
    file.examples.append(example)


def _batches(examples: Iterator[ChatExample]) -> Iterable[list[ChatExample]]:
    while batch := list(islice(examples, _TOKENISED_AT_ONCE)):
        yield batch
