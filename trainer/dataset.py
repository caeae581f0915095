"""A data file → token ids and loss masks, and the report of what became of its lines. No torch here.

Shapes: L length of one example in tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.contract.examples import ChatExample, format_of, read_examples
from trainer.contract.formats.names import FileFormat
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import FileReport
from trainer.contract.run_directory import RunDirectory
from trainer.failures import FileUnusable
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
    directory: RunDirectory, tokenizer: ChatTokenizer, *, context_length_tokens: int
) -> tuple[TokenizedFile, TokenizedFile | None]:
    """Tokenise the training file and the validation file, if there is one.

    What is longer than the context is cut at its end; what then has nothing to train on is dropped.

    Raises:
        FileUnusable: a line is wrong, or no example is left.
    """
    training = _tokenize(directory.training_file, tokenizer, context_length_tokens, "training")
    if not directory.validation_file.exists():
        return training, None
    return training, _tokenize(directory.validation_file, tokenizer, context_length_tokens, "validation")


def _tokenize(path: Path, tokenizer: ChatTokenizer, context_length_tokens: int, kind: str) -> TokenizedFile:
    file = TokenizedFile(_format_of(path, kind))
    for batch in _batches(_read(path, kind)):
        renderings = [_render(example, tokenizer, kind) for example in batch]
        for example, (ids_L, mask_L) in zip(batch, tokenizer.encode(renderings), strict=True):
            _add(file, example.line, ids_L, mask_L, context_length_tokens)
    if not file.examples:
        n_lines = len(file.dropped_lines)
        raise FileUnusable(
            f"The job failed due to an invalid {kind} file. None of its {n_lines} example(s) can be used: within the "
            f"context of {context_length_tokens} tokens (the longest has {file.longest_tokens}) no assistant message "
            "with a weight other than 0 begins. Shorten what comes before the answers.",
            param=f"{kind}_file",
        )
    return file


def _format_of(path: Path, kind: str) -> FileFormat:
    try:
        return format_of(path)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _read(path: Path, kind: str) -> Iterator[ChatExample]:
    try:
        yield from read_examples(path)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _unusable(error: ExampleInvalid, kind: str) -> FileUnusable:
    return FileUnusable(error.job_message(is_validation_file=kind == "validation"), param=f"{kind}_file")


def _render(example: ChatExample, tokenizer: ChatTokenizer, kind: str) -> Rendering:
    try:
        return tokenizer.renderer.render(example)
    except TemplateRefused as error:
        raise FileUnusable(
            f"The job failed due to an invalid {kind} file. The base model's chat template refuses line "
            f"{example.line}; often user and assistant must take turns, or tools are not supported.",
            param=f"{kind}_file",
        ) from error


def _add(
    file: TokenizedFile, line: int, ids_L: npt.NDArray[np.int32], mask_L: npt.NDArray[np.bool_], limit_tokens: int
) -> None:
    mask_L[:1] = False
    file.longest_tokens = max(file.longest_tokens, len(ids_L))
    example = TokenizedExample(ids_L[:limit_tokens].copy(), mask_L[:limit_tokens].copy())
    if example.n_trained_tokens == 0:
        file.dropped_lines.append(line)
        return
    if mask_L[limit_tokens:].any():
        file.truncated_lines.append(line)
    file.examples.append(example)


def _batches(examples: Iterator[ChatExample]) -> Iterable[list[ChatExample]]:
    while batch := list(islice(examples, _TOKENISED_AT_ONCE)):
        yield batch
