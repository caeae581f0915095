"""Personal data and secrets in a line of OpenAI's chat format, as it is written in a file."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from trainer.pii.examples import map_strings
from trainer.pii.finding import find_pii, redacted
from trainer.pii.match import Kind

JsonObject = dict[str, Any]


def redact_row(row: JsonObject) -> tuple[JsonObject, Counter[Kind]]:
    """Give the line with a marker in the place of each match, and how many there were of each kind.

    The arguments of a call are JSON in a string: in them, too, only strings are looked at, so that JSON they stay.
    """
    kinds: Counter[Kind] = Counter()

    def mark(text: str) -> str:
        matches = find_pii(text)
        kinds.update(match.kind for match in matches)
        return redacted(text, matches) if matches else text

    calls = [call["function"] for message in row["messages"] for call in message.get("tool_calls") or ()]
    arguments = [_marked(function["arguments"], mark) for function in calls]
    without = [_without_arguments(message) for message in row["messages"]]
    marked = row | {"messages": map_strings(without, mark)}
    if "tools" in row:
        marked["tools"] = map_strings(row["tools"], mark)
    functions = [call["function"] for message in marked["messages"] for call in message.get("tool_calls") or ()]
    for function, text in zip(functions, arguments, strict=True):
        function["arguments"] = text
    return marked, kinds


def _marked(arguments: str, mark: Callable[[str], str]) -> str:
    """As they were written, where nothing is found in them."""
    value = orjson.loads(arguments)
    marked = map_strings(value, mark)
    return arguments if marked == value else orjson.dumps(marked).decode()


def _without_arguments(message: JsonObject) -> JsonObject:
    if not message.get("tool_calls"):
        return message
    calls = [call | {"function": call["function"] | {"arguments": ""}} for call in message["tool_calls"]]
    return message | {"tool_calls": calls}
