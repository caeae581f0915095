"""What a valid line of a data file is; server and trainer read files with nothing else.

OpenAI's words are used where they are known; each message adds the line and what to do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.foreign_files import ONE_PER_LINE
from trainer.contract.formats.contents import Content, Conversation, Judgement, Preference, Text
from trainer.contract.formats.names import FileFormat
from trainer.contract.formats.rows import choose_format, placed, read_row
from trainer.contract.invalid import FieldInvalid, FileInvalid
from trainer.contract.lines import numbered_lines
from trainer.contract.messages import JsonObject
from trainer.contract.row_objects import read_object
from trainer.contract.spec import MethodName

MIN_EXAMPLES = 10
EMPTY = f"The file is empty. {ONE_PER_LINE}"


@dataclass(frozen=True)
class ChatExample:
    """One line, ready for the chat template."""

    line: int  # from 1
    messages: tuple[JsonObject, ...]  # content is always a string
    trained: tuple[bool, ...]  # of each message: an assistant's, and to be trained on
    tools: tuple[JsonObject, ...] | None


@dataclass(frozen=True)
class TextExample:
    line: int  # from 1
    text: str


@dataclass(frozen=True)
class PreferenceExample:
    line: int  # from 1
    messages: tuple[JsonObject, ...]  # the prompt
    tools: tuple[JsonObject, ...] | None
    preferred: JsonObject  # an assistant message
    non_preferred: JsonObject  # an assistant message


@dataclass(frozen=True)
class KtoExample:
    line: int  # from 1
    messages: tuple[JsonObject, ...]  # the prompt
    tools: tuple[JsonObject, ...] | None
    completion: JsonObject  # an assistant message
    is_desirable: bool


Example = ChatExample | TextExample | PreferenceExample | KtoExample


def read_examples(source: Path | Iterable[bytes]) -> Iterator[ChatExample]:
    """Yield the examples of a file for supervised training, a line at a time; memory does not grow with the file.

    Raises:
        ExampleInvalid: at the first line that is wrong, or at the end if there was no line.
    """
    for example in read_file(source, "supervised"):
        if isinstance(example, ChatExample):  # whatever is in one of these formats is
            yield example


def read_file(source: Path | Iterable[bytes], method: MethodName | None = None) -> Iterator[Example]:
    """Yield the examples of a file in a format that the method trains on, likewise; without one, in any format.

    Raises:
        ExampleInvalid: at the first line that is wrong, or at the end if there was no line.
    """
    held = None
    for number, (line, data) in enumerate(numbered_lines(source), start=1):
        row = read_object(data, line, is_first=number == 1)
        held = held or choose_format(row, line, method)
        try:
            yield _example(line, read_row(row, line, held))
        except FieldInvalid as error:
            raise placed(error, line, number) from None
    if held is None:
        raise FileInvalid(None, None, EMPTY)


def format_of(source: Path | Iterable[bytes]) -> FileFormat:
    """The format of a file, by its first line.

    Raises:
        ExampleInvalid: it is in none.
    """
    for line, data in numbered_lines(source):
        return choose_format(read_object(data, line, is_first=True), line, None)
    raise FileInvalid(None, None, EMPTY)


def too_few_examples(n_examples: int) -> str:
    """OpenAI's message of a job whose file has fewer than `MIN_EXAMPLES` (code `invalid_n_examples`)."""
    return f"Training file has {n_examples} example(s), but must have at least {MIN_EXAMPLES} examples"


def _example(line: int, content: Content) -> Example:
    match content:
        case Conversation():
            return ChatExample(line, *content)
        case Text():
            return TextExample(line, *content)
        case Preference():
            return PreferenceExample(line, *content)
        case Judgement():
            return KtoExample(line, *content)
