"""The quick look and the careful one: what the quick says is valid, is; and it says so of what most files hold."""

import json
from typing import Any

import orjson
import pytest
from format_rows import GOOD_ROWS
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.contract.faults import find_faults
from trainer.contract.formats.names import FileFormat
from trainer.contract.formats.rows import read_row
from trainer.contract.invalid import ExampleInvalid, FieldInvalid
from trainer.contract.quick import REFUSALS, judge_of
from trainer.contract.row_objects import read_object

SURELY = {
    FileFormat.CHAT: 5,
    FileFormat.PROMPT_COMPLETION: 2,
    FileFormat.ALPACA: 2,
    FileFormat.SHAREGPT: 1,
    FileFormat.ANTHROPIC: 3,
    FileFormat.TEXT: 1,
    FileFormat.KTO: 1,
}  # of the good rows, the first so many
VALUES: list[object] = [
    *(None, True, False, 0, 1, 0.0, 1.0, 0.5, -1, 10**30, "", "x", "null", "[]", "{}", [], {}, [[]], [{}], {"a": "b"}),
    *(
        "user",
        "assistant",
        "system",
        "developer",
        "tool",
        "function",
        "human",
        "gpt",
        "observation",
        "text",
        "tool_use",
    ),
    *([{"type": "text", "text": "a"}], [{"type": "tool_result", "tool_use_id": "a"}], [{"type": "image"}]),
    *([{"role": "assistant", "content": "a"}], {"role": "assistant", "content": None}),
]
KEYS = [
    *("role", "content", "messages", "weight", "name", "tools", "functions", "tool_calls", "function_call", "refusal"),
    *("tool_call_id", "type", "text", "id", "function", "arguments", "parameters", "strict", "description", "input"),
    *("system", "prompt", "completion", "label", "instruction", "output", "history", "conversations", "from", "value"),
    *("chosen", "rejected", "preferred_output", "parallel_tool_calls", "is_error", "input_schema", "cache_control"),
]
CUTS = [b"", b"\n", b"\r", b" ", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc3\xa9", b'"', b"\\", b"\\ud800"]
CUTS += [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"{}",
    b"NaN",
    b"1e999",
    b"01",
    b"\\u0061",
    b"\x01",
    b"\x7f",
    b'"":[]',
    b"/**/",
]


def is_quickly_valid(line: bytes, held: FileFormat) -> bool:
    try:
        return judge_of(held)(line)
    except REFUSALS:
        return False


def is_carefully_valid(line: bytes, held: FileFormat) -> bool:
    line = line.strip(b" \t\r\n")
    try:
        read_row(read_object(line, 1, is_first=False), 1, held)
    except (ExampleInvalid, FieldInvalid):
        return False
    return b"\n" not in line


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container of a row with each of its keys."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [(node, key) for key in keys] + [place for key in keys for place in places(node[key])]


fresh_values = st.sampled_from([json.dumps(value) for value in VALUES]).map(json.loads)


@st.composite
def mutated_lines(draw: st.DrawFn) -> tuple[FileFormat, bytes]:
    held = draw(st.sampled_from(list(FileFormat)))
    row = json.loads(json.dumps(draw(st.sampled_from(GOOD_ROWS[held]))))
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, row)
    line = json.dumps(row, ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at, length = draw(st.integers(0, len(line))), draw(st.integers(0, 3))
        line = line[:at] + draw(st.sampled_from(CUTS)) + line[at + length :]
    return held, line


def _mutate(draw: st.DrawFn, row: Any) -> None:
    if not (found := places(row)):
        return
    node, key = draw(st.sampled_from(found))
    match draw(st.sampled_from(["change", "remove", "add", "double"])):
        case "change":
            node[key] = draw(fresh_values | st.text(max_size=5))
        case "remove":
            del node[key]
        case "add" if isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = draw(fresh_values)
        case _ if isinstance(node, list):
            node.append(node[key])


def check_that_quick_means_careful(case: tuple[FileFormat, bytes]) -> None:
    held, line = case
    assert b"\n" in line or is_carefully_valid(line, held) or not is_quickly_valid(line, held)


@settings(max_examples=400, deadline=None)
@given(mutated_lines())
def test_what_is_quickly_valid_is_carefully_valid(case: tuple[FileFormat, bytes]) -> None:
    check_that_quick_means_careful(case)


@pytest.mark.torture
@pytest.mark.timeout(1800)
@settings(max_examples=60_000, deadline=None)
@given(mutated_lines())
def test_what_is_quickly_valid_is_carefully_valid_in_a_long_sweep(case: tuple[FileFormat, bytes]) -> None:
    check_that_quick_means_careful(case)


@settings(max_examples=100, deadline=None)
@given(st.lists(mutated_lines(), min_size=1, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_a_whole_file_gets_the_verdict_of_the_careful_way_alone(
    cases: list[tuple[FileFormat, bytes]], newline: bytes
) -> None:
    held = cases[0][0]
    lines = [orjson.dumps(GOOD_ROWS[held][0]), *(line for _, line in cases)]
    data = newline.join(lines)
    split = list(enumerate(data.split(b"\n"), start=1))
    wrong = [n for n, line in split if line.strip(b" \t\r\n") and not is_carefully_valid(line, held)]
    found = find_faults([data], 100, method=None)
    assert [fault.line for fault in found.faults] == wrong
    assert found.n_examples == sum(1 for _, line in split if line.strip(b" \t\r\n"))


@pytest.mark.parametrize("held", SURELY)
def test_the_quick_look_knows_what_most_files_hold(held: FileFormat) -> None:
    for row in GOOD_ROWS[held][: SURELY[held]]:
        assert is_quickly_valid(orjson.dumps(row), held), row


def test_tools_that_were_seen_before_change_no_verdict() -> None:
    """Each line by a judge that has seen the others, and by one that has seen nothing."""
    good = json.loads(json.dumps(GOOD_ROWS[FileFormat.CHAT][4]))
    tools = [good["tools"], [], None, "x", [{"type": "function"}], [*good["tools"], {}], good["tools"] * 128]
    lines = [orjson.dumps(good | {"tools": offered}) for offered in [*tools, *tools]]
    lines += [orjson.dumps(good).replace(b'"properties":{', b'"properties":{"\xff":1,')] * 2
    deep = b"[" * 98 + b"]" * 98
    lines += [orjson.dumps(good).replace(b'"properties":{', b'"properties":{"a":' + deep + b",")] * 2
    one_for_all = judge_of(FileFormat.CHAT)

    def verdict(line: bytes) -> bool:
        try:
            return one_for_all(line)
        except REFUSALS:
            return False

    verdicts = [verdict(line) for line in lines]
    assert verdicts == [is_quickly_valid(line, FileFormat.CHAT) for line in lines]
    assert verdicts.count(True) >= 4
    assert all(is_carefully_valid(line, FileFormat.CHAT) for line, valid in zip(lines, verdicts, strict=True) if valid)


@pytest.mark.parametrize("arguments", ["[]", "1", "{", '"x"', "NaN", "null", "{}x"])
def test_arguments_that_are_no_object_are_not_quickly_valid(arguments: str) -> None:
    row = json.loads(json.dumps(GOOD_ROWS[FileFormat.CHAT][4]))
    for message in row["messages"]:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = arguments
    assert arguments in [call["function"]["arguments"] for m in row["messages"] for call in m.get("tool_calls") or []]
    assert not is_quickly_valid(orjson.dumps(row), FileFormat.CHAT)


@pytest.mark.parametrize("depth", [50, 90, 100, 150, 3000])
@pytest.mark.parametrize("held", [FileFormat.CHAT, FileFormat.ANTHROPIC])
def test_depth_is_judged_alike(held: FileFormat, depth: int) -> None:
    row = GOOD_ROWS[held][4 if held is FileFormat.CHAT else 2]
    nested = b'{"a":' * depth + b"{}" + b"}" * depth
    line = orjson.dumps(row).replace(b'"properties":{"city":{"type":"string"}}', b'"properties":' + nested)
    assert nested in line
    assert is_carefully_valid(line, held) == (depth < 95)
    assert is_carefully_valid(line, held) or not is_quickly_valid(line, held)
