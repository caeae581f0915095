"""Valid rows of every format in the spellings of public files, and JSON Lines made of them."""

import json
from collections.abc import Iterable
from typing import Any

from trainer.contract.formats.names import FileFormat

Row = dict[str, Any]

CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo"}'}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Weather.", "parameters": SCHEMA}}
ASKED = {"role": "user", "content": "Where is my parcel?"}
ANSWERED = {"role": "assistant", "content": "On its way."}
REFUSED = {"role": "assistant", "content": "No idea."}

GOOD_ROWS: dict[FileFormat, list[Row]] = {
    FileFormat.CHAT: [
        {"messages": [ASKED, ANSWERED]},
        {"messages": [{"role": "system", "content": "Be brief."}, ASKED, {**ANSWERED, "weight": 0}, ASKED, ANSWERED]},
        {"messages": [{"role": "developer", "content": "x", "name": "d"}, ASKED, {**ANSWERED, "weight": None}]},
        {"messages": [{**ASKED, "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, ANSWERED]},
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                ANSWERED,
            ],
            "tools": [TOOL],
            "parallel_tool_calls": False,
        },
        {
            "messages": [
                ASKED,
                {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
                {"role": "function", "name": "f", "content": "1"},
            ],
            "functions": [{"name": "f"}],
        },
        {"messages": [ASKED, {"role": "assistant", "refusal": "No."}], "metadata": {"any": ["thing"]}},
    ],
    FileFormat.PROMPT_COMPLETION: [
        {"prompt": "Where is my parcel?", "completion": " On its way."},
        {"prompt": "", "completion": "On its way.", "system": "Be brief."},
        {"prompt": [ASKED, REFUSED, ASKED], "completion": [ANSWERED], "tools": [TOOL]},
        {"prompt": "Say it.", "completion": [ANSWERED], "id": 7},
    ],
    FileFormat.ALPACA: [
        {"instruction": "Name a fruit.", "input": "", "output": "Pear."},
        {"instruction": "Translate.", "input": "poire", "output": "pear"},
        {"instruction": "Name a fruit.", "output": "Pear.", "text": "Below is an instruction."},
        {"instruction": "And now?", "input": None, "output": "7", "system": "Count.", "history": [["1?", "2"]]},
    ],
    FileFormat.SHAREGPT: [
        {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]},
        {
            "id": "abc_0",
            "conversations": [
                {"from": "system", "value": "Be brief.", "weight": None},
                {"from": "user", "value": "Hello", "weight": 0.0},
                {"from": "assistant", "value": "Hi", "weight": 1.0},
            ],
        },
        {"conversations": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]},
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": '{"name": "look_up", "arguments": {"city": "Oslo"}}'},
                {"from": "observation", "value": "rain", "name": "look_up"},
                {"from": "gpt", "value": "It rains."},
            ],
            "system": "Be brief.",
            "tools": json.dumps([{"name": "look_up", "description": "Weather.", "parameters": SCHEMA}]),
        },
    ],
    FileFormat.ANTHROPIC: [
        {"system": "Be brief.", "messages": [ASKED, ANSWERED]},
        {"system": "", "messages": [{**ASKED, "content": [{"type": "text", "text": "a"}]}, ANSWERED]},
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Oslo"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
                        {"type": "text", "text": "Thanks."},
                    ],
                },
                ANSWERED,
            ],
            "tools": [{"name": "look_up", "description": "Weather.", "input_schema": SCHEMA}],
        },
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": None}], "messages": [ASKED, ANSWERED]},
    ],
    FileFormat.TEXT: [{"text": "Once upon a time."}, {"text": "The end.", "source": "a book"}],
    FileFormat.PREFERENCE: [
        {"input": {"messages": [ASKED]}, "preferred_output": [ANSWERED], "non_preferred_output": [REFUSED]},
        {
            "input": {"messages": [ASKED], "tools": [TOOL], "parallel_tool_calls": True},
            "preferred_completion": [ANSWERED],
            "non_preferred_completion": [REFUSED],
        },
        {"prompt": "Where?", "chosen": "There.", "rejected": "Nowhere."},
        {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [REFUSED], "score_chosen": 8.5},
        {"prompt": ASKED["content"], "chosen": [ASKED, ANSWERED], "rejected": [ASKED, REFUSED]},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, REFUSED], "messages": [ASKED, ANSWERED]},
        {"system": "Be brief.", "question": "Where?", "chosen": "There.", "rejected": "Nowhere."},
        {"prompt": "Where?", "chosen_response": "There.", "rejected_response": "Nowhere."},
        {"instruction": "Say where.", "chosen_response": [ANSWERED], "rejected_response": [REFUSED]},
    ],
    FileFormat.KTO: [
        {"prompt": "Where?", "completion": "There.", "label": True},
        {"prompt": [ASKED], "completion": [REFUSED], "label": False},
    ],
}


def json_lines(rows: Iterable[object], *, newline: bytes = b"\n") -> bytes:
    return b"".join(json.dumps(row).encode() + newline for row in rows)


def changed(row: Row, path: list[str | int], value: object) -> Row:
    """A copy of the row with another value at a place; `REMOVED` takes the key away."""
    copy: Row = json.loads(json.dumps(row))
    node: Any = copy
    for key in path[:-1]:
        node = node[key]
    if value is REMOVED:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return copy


REMOVED = object()
