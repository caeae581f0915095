"""Files with planted faults: each kind at the start, scattered and at the end, in every format that can have it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from format_rows import ANSWERED, ASKED, GOOD_ROWS, REMOVED, changed

from trainer.contract.faults import find_faults
from trainer.contract.formats.names import FileFormat

N_LINES = 40
PLACES = {"scattered": (3, 17, 18, 29), "at the end": (N_LINES,), "all but the first": tuple(range(2, N_LINES + 1))}
Spoil = Callable[[dict[str, Any]], bytes]


def put(*path: str | int, value: object) -> Spoil:
    return lambda row: json.dumps(changed(row, list(path), value)).encode()


def raw(spoil: Callable[[bytes], bytes]) -> Spoil:
    return lambda row: spoil(json.dumps(row).encode())


OTHER = json.dumps(GOOD_ROWS[FileFormat.SHAREGPT][0]).encode()
FAULTS: dict[str, tuple[FileFormat, Spoil, str | None]] = {
    "cut off": (FileFormat.CHAT, raw(lambda line: line[:-5]), None),
    "two objects on a line": (FileFormat.ALPACA, raw(lambda line: line + line), None),
    "a comma after the object": (FileFormat.PROMPT_COMPLETION, raw(lambda line: line + b","), None),
    "single quotes": (FileFormat.SHAREGPT, raw(lambda line: line.replace(b'"', b"'")), None),
    "not UTF-8": (FileFormat.ANTHROPIC, raw(lambda line: line.replace(b"messages", b"mess\xffages")), None),
    "a control character": (FileFormat.TEXT, raw(lambda line: line.replace(b" ", b"\x01")), None),
    "a mark in the middle": (FileFormat.CHAT, raw(lambda line: b"\xef\xbb\xbf" + line), None),
    "a list": (FileFormat.KTO, raw(lambda line: b"[" + line + b"]"), None),
    "another format": (FileFormat.CHAT, lambda _: OTHER, None),
    "another format, of pairs": (FileFormat.PROMPT_COMPLETION, lambda _: OTHER, None),
    "no messages": (FileFormat.CHAT, put("messages", value=[]), "messages"),
    "messages gone": (FileFormat.CHAT, lambda _: b"{}", "messages"),
    "no role": (FileFormat.CHAT, put("messages", 0, "role", value=REMOVED), "messages[0].role"),
    "a foreign role": (FileFormat.CHAT, put("messages", 0, "role", value="human"), "messages[0].role"),
    "no content": (FileFormat.CHAT, put("messages", 1, "content", value=None), "messages[1].content"),
    "nobody answers": (FileFormat.CHAT, put("messages", value=[ASKED, ASKED]), "messages"),
    "half a weight": (FileFormat.CHAT, put("messages", 1, "weight", value=0.5), "messages[1].weight"),
    "a misspelled key": (FileFormat.CHAT, put("messages", 1, "contnet", value="x"), "messages[1].contnet"),
    "an image": (
        FileFormat.CHAT,
        put("messages", 0, "content", value=[{"type": "image_url", "image_url": {"url": "x"}}]),
        "messages[0].content[0].type",
    ),
    "a call without arguments": (
        FileFormat.CHAT,
        put(
            *("messages", 1, "tool_calls"),
            value=[{"id": "a", "type": "function", "function": {"name": "f"}}],
        ),
        "messages[1].tool_calls[0].function.arguments",
    ),
    "a tool without name": (
        FileFormat.CHAT,
        put("tools", value=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
    ),
    "no completion": (FileFormat.PROMPT_COMPLETION, put("completion", value=REMOVED), "completion"),
    "a number as prompt": (FileFormat.PROMPT_COMPLETION, put("prompt", value=7), "prompt"),
    "no output": (FileFormat.ALPACA, put("output", value=REMOVED), "output"),
    "an input that is a list": (FileFormat.ALPACA, put("input", value=["x"]), "input"),
    "no turns": (FileFormat.SHAREGPT, put("conversations", value=[]), "conversations"),
    "an unknown speaker": (
        FileFormat.SHAREGPT,
        put("conversations", 1, "from", value="narrator"),
        "conversations[1].from",
    ),
    "a turn without value": (
        FileFormat.SHAREGPT,
        put("conversations", 0, "value", value=REMOVED),
        "conversations[0].value",
    ),
    "a system message inside": (FileFormat.ANTHROPIC, put("messages", 0, "role", value="system"), "messages[0].role"),
    "an image block": (
        FileFormat.ANTHROPIC,
        put("messages", 0, "content", value=[{"type": "image", "source": {}}]),
        "messages[0].content[0].type",
    ),
    "a result without its call": (
        FileFormat.ANTHROPIC,
        put("messages", 0, "content", value=[{"type": "tool_result", "content": "x"}]),
        "messages[0].content[0].tool_use_id",
    ),
    "no text": (FileFormat.TEXT, put("text", value=""), "text"),
    "no rejected answer": (
        FileFormat.PREFERENCE,
        put("non_preferred_output", value=REMOVED),
        "non_preferred_output",
    ),
    "two preferred answers of users": (
        FileFormat.PREFERENCE,
        put("preferred_output", value=[ANSWERED, ASKED]),
        "preferred_output[1].role",
    ),
    "a label that is a word": (FileFormat.KTO, put("label", value="good"), "label"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_on_its_lines(name: str, place: str) -> None:
    held, spoil, field = FAULTS[name]
    row = GOOD_ROWS[held][0]
    lines = [spoil(row) if n in PLACES[place] else json.dumps(row).encode() for n in range(1, N_LINES + 1)]
    found = find_faults([b"\n".join(lines) + b"\n"], N_LINES, method=None)
    assert [fault.line for fault in found.faults] == list(PLACES[place])
    assert {fault.field for fault in found.faults} == {field}
    assert (found.format, found.n_examples, found.n_faults) == (held, N_LINES, len(PLACES[place]))


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) * len(PLACES) >= 75
    assert {held for held, _, _ in FAULTS.values()} == set(FileFormat)
