"""A data file → its examples with their tokens, rendered and tokenised unless that was done before. No torch here."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from trainer.contract.examples import ChatExample, Example, TextExample, format_of, read_file
from trainer.contract.formats.names import FileFormat
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import FileKind, param_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import MethodName
from trainer.contract.tokens import TokensKey
from trainer.conversations import conversations_of, desirable, n_conversations
from trainer.failures import BaseModelUnavailable, FileUnusable
from trainer.pii.examples import redact
from trainer.refusals import why_refused
from trainer.rendering import Rendering, TemplateRefused
from trainer.token_arrays import TokenArrays, Tokens, TokenWriter, open_tokens
from trainer.tokenizer import ChatTokenizer, Encoded

_AT_ONCE = 256  # examples
_RELEASED_EVERY = 64  # batches
_LIBRARIES = ("jinja2", "tokenizers", "transformers")
_OF_REDACTION = ("detect-secrets", "phonenumbers", "python-stdnum")

Change = Callable[[Example], Example]


@dataclass(frozen=True)
class WholeExample:
    """An example and the tokens of its conversations, before anything is cut."""

    example: Example
    tokens: tuple[Tokens, ...]


class DataFile:
    """One data file of a run directory. What was tokenised once lies beside it and is not tokenised again."""

    def __init__(
        self,
        run: RunDirectory,
        path: Path,
        tokenizer: ChatTokenizer,
        *,
        method: MethodName = "supervised",
        redacts: bool,
    ) -> None:
        self.path = path
        self.method = method
        self.kind = run.kind_of(path)
        self.n_tokenised = 0  # examples, by this object
        self._run = run
        self._tokenizer = tokenizer
        self._redacts = redacts

    def tokens(self) -> TokenArrays:
        """Its arrays; if need be they are made.

        Raises:
            FileUnusable: a line is wrong.
        """
        key = self._key()
        arrays = self._find(key)
        if arrays is None:
            for _ in self._tokenise(key, redact if self._redacts else None):
                pass
            arrays = self._find(key)
        if arrays is None:
            raise OSError("what was written is not what is read")
        return arrays

    def read(self, prepare: Change | None) -> Iterator[list[WholeExample]]:
        """Yield its examples, some at a time; `prepare` changes each before it is rendered, if the file redacts.

        Afterwards its arrays are there.

        Raises:
            FileUnusable: a line is wrong.
        """
        key = self._key()
        arrays = self._find(key)
        if arrays is None:
            yield from self._tokenise(key, prepare)
            return
        at = 0
        for number, batch in enumerate(_read_batches(self.path, self.kind, self.method, prepare)):
            yield [WholeExample(example, arrays[at + index]) for index, example in enumerate(batch)]
            at += len(batch)
            if number % _RELEASED_EVERY == 0:
                arrays.release()

    def _key(self) -> TokensKey:
        with self.path.open("rb") as file:
            data = hashlib.file_digest(file, "sha256").hexdigest()
        return TokensKey(
            data_sha256=data,
            tokenizer_sha256=self._tokenizer.sha256,
            template_sha256=self._tokenizer.template_sha256,
            redacts=self._redacts,
            libraries={name: version(name) for name in _LIBRARIES + (_OF_REDACTION if self._redacts else ())},
        )

    def _find(self, key: TokensKey) -> TokenArrays | None:
        """Those of the run directory, or among what it was offered."""
        final = self._run.tokens(self.path)
        if (arrays := open_tokens(final, key)) is not None:
            return arrays
        offered = self._run.offered_tokens(self.path) / key.name
        if not offered.is_dir() or open_tokens(offered, key) is None:
            return None
        shutil.rmtree(final, ignore_errors=True)
        offered.rename(final)
        return open_tokens(final, key)

    def _tokenise(self, key: TokensKey, prepare: Change | None) -> Iterator[list[WholeExample]]:
        sequences = n_conversations(read_format(self.path, self.kind))
        batches = tokenize_in_batches(self.path, self._tokenizer, self.kind, method=self.method, prepare=prepare)
        with TokenWriter(self._run.tokens(self.path), sequences_per_example=sequences) as writer:
            for batch in batches:
                writer.add([tokens for whole in batch for tokens in whole.tokens])
                self.n_tokenised += len(batch)
                yield batch
            writer.publish(key)


def tokenize_in_batches(
    path: Path,
    tokenizer: ChatTokenizer,
    kind: FileKind,
    *,
    method: MethodName = "supervised",
    prepare: Change | None = None,
) -> Iterator[list[WholeExample]]:
    """Yield all examples of a file, some at a time; `prepare` changes each before it is rendered.

    Raises:
        FileUnusable: a line is wrong.
    """
    for batch in _read_batches(path, kind, method, prepare):
        encoded = iter(_encode(batch, tokenizer, kind))
        yield [WholeExample(example, _tokens(example, encoded)) for example in batch]


def _encode(batch: list[Example], tokenizer: ChatTokenizer, kind: FileKind) -> list[Encoded]:
    """The sequences of all examples of a batch, which are of one format."""
    texts = [example.text for example in batch if isinstance(example, TextExample)]
    if texts:
        return tokenizer.encode_texts(texts)
    conversations = [one for example in batch for one in conversations_of(example)]
    return tokenizer.encode([_render(one, tokenizer, kind) for one in conversations])


def _tokens(example: Example, encoded: Iterator[Encoded]) -> tuple[Tokens, ...]:
    """The next sequences are the example's. What follows the answer of a preference is left out: nothing sees it."""
    sequences = []
    for is_desirable, (ids_L, mask_L) in zip(desirable(example), encoded, strict=False):
        mask_L[:1] = False
        end = len(ids_L) if isinstance(example, ChatExample) else int(mask_L.nonzero()[0].max(initial=-1)) + 1
        sequences.append(Tokens(example.line, ids_L[:end], mask_L[:end], is_desirable))
    return tuple(sequences)


def read_format(path: Path, kind: FileKind) -> FileFormat:
    """Raises: FileUnusable: the file is in no format that is known."""
    try:
        return format_of(path)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _read_batches(path: Path, kind: FileKind, method: MethodName, prepare: Change | None) -> Iterator[list[Example]]:
    examples = _read(path, kind, method)
    yield from _batches(examples if prepare is None else map(prepare, examples))


def _read(path: Path, kind: FileKind, method: MethodName) -> Iterator[Example]:
    try:
        yield from read_file(path, method)
    except ExampleInvalid as error:
        raise _unusable(error, kind) from error


def _unusable(error: ExampleInvalid, kind: FileKind) -> FileUnusable:
    return FileUnusable(error.job_message(kind), param=param_of(kind))


def _render(example: ChatExample, tokenizer: ChatTokenizer, kind: FileKind) -> Rendering:
    try:
        return tokenizer.renderer.render(example)
    except TemplateRefused:
        reason = (
            f"The base model's chat template refuses line {example.line}. {why_refused(example, tokenizer.renderer)}"
        )
    except BaseModelUnavailable as error:  # the template does for others
        reason = f"Line {example.line} cannot be trained on. {error} Or train on its last answer alone (weight 0)."
    raise FileUnusable(f"The job failed due to an invalid {kind} file. {reason}", param=param_of(kind))


def _batches(examples: Iterator[Example]) -> Iterable[list[Example]]:
    while batch := list(islice(examples, _AT_ONCE)):
        yield batch
