"""What a valid line of a chat training file is; server and trainer read files with nothing else.

OpenAI's words are used where they are known; each message adds the line and what to do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from trainer.contract.invalid import ExampleInvalid, FieldInvalid
from trainer.contract.lines import numbered_lines
from trainer.contract.messages import JsonObject, read_functions, read_message, read_tools

MIN_EXAMPLES = 10
_MAX_DEPTH = 100  # of nested JSON; templates and JSON writers recurse
_ONE_PER_LINE = "Write one JSON object per line (JSON Lines)."


@dataclass(frozen=True)
class ChatExample:
    """One line, ready for the chat template."""

    line: int  # from 1
    messages: tuple[JsonObject, ...]  # content is always a string
    trained: tuple[bool, ...]  # of each message: an assistant's, and not of weight 0
    tools: tuple[JsonObject, ...] | None


def read_examples(source: Path | Iterable[bytes]) -> Iterator[ChatExample]:
    """Yield the examples of a file, a line at a time; memory does not grow with the file.

    Raises:
        ExampleInvalid: at the first line that is wrong, or at the end if there was no line.
    """
    number = 0
    for number, (line_number, line) in enumerate(numbered_lines(source), start=1):
        value = _read_json(line, line_number, is_first=number == 1)
        try:
            yield _read_example(value, line_number)
        except FieldInvalid as error:
            raise _placed(error, line_number, number) from None
    if number == 0:
        raise ExampleInvalid(None, None, f"The file is empty. {_ONE_PER_LINE}")


def too_few_examples(n_examples: int) -> str:
    """OpenAI's message of a job whose file has fewer than `MIN_EXAMPLES` (code `invalid_n_examples`)."""
    return f"Training file has {n_examples} example(s), but must have at least {MIN_EXAMPLES} examples"


def _read_example(value: JsonObject, line: int) -> ChatExample:
    if "messages" not in value:
        raise _unexpected_format(value, line)
    messages = value["messages"]
    if not isinstance(messages, list) or not messages:
        raise FieldInvalid("messages", "There must be a list of at least one message.")
    read = [read_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    if all(message["role"] != "assistant" for message, _ in read):
        raise FieldInvalid("messages", "At least one message must be from the assistant.")
    if not isinstance(value.get("parallel_tool_calls"), bool | None):
        raise FieldInvalid("parallel_tool_calls", "This must be true or false.")
    return ChatExample(line, tuple(m for m, _ in read), tuple(t for _, t in read), _read_tools(value))


def _read_tools(value: JsonObject) -> tuple[JsonObject, ...] | None:
    if value.get("tools"):
        return tuple(read_tools(value["tools"], "tools"))
    if value.get("functions"):
        return tuple(read_functions(value["functions"], "functions"))
    return None


def _unexpected_format(value: JsonObject, line: int) -> ExampleInvalid:
    if "prompt" in value and "completion" in value:
        reason = "Prompt/completion pairs train completion models only; this service trains chat models."
        return ExampleInvalid(line, "messages", f"{reason} Write each pair as two messages.")
    if "input" in value and {"preferred_output", "preferred_completion"} & value.keys():
        reason = "This is a preference example, but the method of the job is supervised."
        return ExampleInvalid(line, "messages", f'{reason} Give "messages".')
    known = "Unexpected file format, expected either prompt/completion pairs or chat messages."
    remedy = f'Line {line} has no key "messages".'
    if "conversations" in value:
        remedy += ' Rename "conversations" to "messages", "from" to "role" and "value" to "content".'
    return ExampleInvalid(line, "messages", remedy, text=f"{known} {remedy}")


def _placed(error: FieldInvalid, line: int, number: int) -> ExampleInvalid:
    text = None
    if error.missing_role_of_message is not None:
        place = f"Example {number}, message {error.missing_role_of_message}"
        text = (
            f"Invalid file format. {place} Discriminator 'role' is missing in value "
            f"(line {line}). Give each message a role."
        )
    return ExampleInvalid(line, error.field, error.reason, text=text)


def _read_json(line: bytes, number: int, *, is_first: bool) -> JsonObject:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ExampleInvalid(number, None, _diagnose(line, error, is_first=is_first)) from None
    if isinstance(value, list) and is_first:
        raise ExampleInvalid(number, None, f"The file is a JSON array. {_ONE_PER_LINE}")
    if not isinstance(value, dict):
        raise ExampleInvalid(number, None, f"The line is not a JSON object. {_ONE_PER_LINE}")
    if _is_deeper(value, _MAX_DEPTH):
        raise ExampleInvalid(number, None, f"The line is nested more than {_MAX_DEPTH} levels deep.")
    return value


def _diagnose(line: bytes, error: orjson.JSONDecodeError, *, is_first: bool) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return f"The line is not UTF-8 (byte {undecodable.start + 1}). Save the file as UTF-8."
    if is_first and line.startswith(b"["):
        return f"The file looks like a JSON array. {_ONE_PER_LINE}"
    if is_first and line.startswith(b"{") and error.msg == "unexpected end of data":
        return f"The file looks like pretty-printed JSON, an object over several lines. {_ONE_PER_LINE}"
    if error.msg == "depth limit exceeded":
        return f"The line is nested more than {_MAX_DEPTH} levels deep."
    if line[error.pos : error.pos + 3] in (b"NaN", b"Inf", b"-In"):
        return f"The line is not valid JSON (character {error.pos + 1}): NaN and Infinity are not JSON."
    return f"The line is not valid JSON (character {error.pos + 1}). {_ONE_PER_LINE}"


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested more than `limit` deep; by levels, so that nothing recurses."""
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> Iterable[Any]:
    values = node.values() if isinstance(node, dict) else node
    return (value for value in values if isinstance(value, dict | list))
