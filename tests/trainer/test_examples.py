"""What a valid line is; each bad one is named by line, field and remedy, without its text."""

import json
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import assistant, user

from trainer.contract.examples import ChatExample, read_examples, too_few_examples
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.lines import MAX_LINE_BYTES

SECRET = "zebra"
GOOD = {"messages": [user("hello"), assistant("hi")]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"b": 1, "a": [2]}'}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def read(*lines: object) -> list[ChatExample]:
    return list(read_examples([b"".join(json.dumps(line).encode() + b"\n" for line in lines)]))


def refusal(data: bytes) -> ExampleInvalid:
    with pytest.raises(ExampleInvalid) as caught:
        list(read_examples([data]))
    return caught.value


def messages(*values: object) -> bytes:
    return json.dumps({"messages": values}).encode()


ONE_PER_LINE = "Write one JSON object per line (JSON Lines)."
BAD_FILES: list[tuple[str, bytes, int | None, str]] = [
    ("empty", b"", None, f"The file is empty. {ONE_PER_LINE}"),
    ("blank lines only", b"\n \n\r\n", None, "The file is empty."),
    ("broken on line 3", json.dumps(GOOD).encode() + b"\n\n{'messages': 1}\n", 3, "Line 3: The line is not valid JSON"),
    ("cut off", json.dumps(GOOD).encode() + b'\n{"messages": [', 2, "Line 2: The line is not valid JSON (character"),
    (
        "pretty-printed",
        json.dumps(GOOD, indent=2).encode(),
        1,
        f"pretty-printed JSON, an object over several lines. {ONE_PER_LINE}",
    ),
    ("an array on one line", json.dumps([GOOD]).encode(), 1, f"The file is a JSON array. {ONE_PER_LINE}"),
    ("a pretty-printed array", json.dumps([GOOD], indent=2).encode(), 1, "The file looks like a JSON array."),
    ("a number", b"5", 1, "The line is not a JSON object."),
    ("NaN", b'{"messages": NaN}', 1, "NaN and Infinity are not JSON"),
    (
        "not UTF-8",
        json.dumps(GOOD).encode() + b'\n{"a": "\xff"}',
        2,
        "Line 2: The line is not UTF-8 (byte 8). Save the file as UTF-8.",
    ),
    ("UTF-16", json.dumps(GOOD).encode("utf-16"), 1, "not UTF-8 but UTF-16"),
    (
        "a second byte order mark",
        json.dumps(GOOD).encode() + b"\n\xef\xbb\xbf{}",
        2,
        "Line 2: The line is not valid JSON",
    ),
    ("half a surrogate pair", rb'{"messages": "\ud800"}', 1, "not valid JSON"),
    ("nested lists", b'{"messages": ' + b"[" * 150 + b"]" * 150 + b"}", 1, "nested more than 100 levels deep"),
    ("very nested lists", b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 1, "nested more than 100 levels deep"),
]
BAD_EXAMPLES: list[tuple[str, bytes, str | None, str]] = [
    (
        "plain text",
        b'{"text": "zebra"}',
        "text",
        "is not using 'continued_pretraining' as the training method (provided method=supervised)",
    ),
    ("a pair of other names", b'{"question": "zebra", "answer": "b"}', "messages", 'Rename "question" to "prompt"'),
    ("a KTO example", b'{"prompt": "zebra", "completion": "b", "label": true}', "label", "or name the method 'kto'"),
    ("a preference pair", b'{"input": {}, "preferred_output": []}', "preferred_output", "(provided method=supervised)"),
    ("no message", messages(), "messages", "at least one message"),
    ("messages is text", b'{"messages": "zebra"}', "messages", "at least one message"),
    ("a message is text", messages("zebra"), "messages[0]", "A message must be an object"),
    (
        "no role",
        messages(user("a"), {"content": "zebra"}),
        "messages[1].role",
        "Example 1, message 2 Discriminator 'role' is missing in value",
    ),
    (
        "unknown role",
        messages({"role": "zebra", "content": "a"}),
        "messages[0].role",
        "it must be one of system, developer, user, assistant",
    ),
    (
        "another service's role",
        messages({"role": "human", "content": "a"}),
        "messages[0].role",
        '"user" is the word for "human"',
    ),
    (
        "no assistant",
        messages(user("zebra")),
        "messages",
        'Line 1, key "messages": At least one message must be from the assistant.',
    ),
    (
        "assistant says nothing",
        messages(assistant("x") | {"content": None}),
        "messages[0].content",
        "null only beside tool_calls",
    ),
    ("user says nothing", messages({"role": "user"}, assistant("x")), "messages[0].content", "must be a string"),
    (
        "content is a number",
        messages(user("a") | {"content": 5}, assistant("x")),
        "messages[0].content",
        "must be a string",
    ),
    ("no parts", messages(user("a") | {"content": []}, assistant("x")), "messages[0].content", "not empty"),
    (
        "an image",
        messages(user("a") | {"content": [{"type": "image_url", "image_url": {"url": "zebra"}}]}, assistant("x")),
        "messages[0].content[0].type",
        "Parts of type image_url cannot be trained on",
    ),
    (
        "a sound",
        messages(user("a") | {"content": [{"type": "input_audio", "input_audio": {}}]}, assistant("x")),
        "messages[0].content[0].type",
        "Parts of type input_audio",
    ),
    (
        "an unknown part",
        messages(user("a") | {"content": [{"type": "zebra"}]}, assistant("x")),
        "messages[0].content[0]",
        '"type": "text"',
    ),
    ("half a weight", messages(assistant("x", weight=0.5)), "messages[0].weight", "0 (not trained on) or 1"),
    ("a weight that is true", messages(assistant("x", weight=True)), "messages[0].weight", "0 (not trained on) or 1"),
    (
        "a user's weight",
        messages(user("a") | {"weight": 1}, assistant("x")),
        "messages[0].weight",
        "Only assistant messages",
    ),
    ("an unknown key", messages(assistant("x", wieght=0)), "messages[0].wieght", "Unknown key"),
    ("text as a key", messages(assistant("x") | {"zebra and so on": 1}), "messages[0].(unknown)", "Unknown key"),
    (
        "a tool that answers nobody",
        messages({"role": "tool", "content": "a"}, assistant("x")),
        "messages[0].tool_call_id",
        "must name the call",
    ),
    (
        "calls that are no list",
        messages(assistant("x", tool_calls="zebra")),
        "messages[0].tool_calls",
        "must be a list",
    ),
    (
        "a call without id",
        messages(assistant("x", tool_calls=[{**CALL, "id": None}])),
        "messages[0].tool_calls[0].id",
        "needs an id",
    ),
    (
        "arguments as an object",
        messages(assistant("x", tool_calls=[{**CALL, "function": {"name": "f", "arguments": {}}}])),
        "messages[0].tool_calls[0].function.arguments",
        "a string that holds JSON",
    ),
    (
        "arguments not JSON",
        messages(assistant("x", tool_calls=[{**CALL, "function": {"name": "f", "arguments": "zebra"}}])),
        "messages[0].tool_calls[0].function.arguments",
        "one JSON object",
    ),
    (
        "tools without name",
        json.dumps({**GOOD, "tools": [{"type": "function", "function": {}}]}).encode(),
        "tools[0].function.name",
        "needs a name",
    ),
    ("tools that are no list", json.dumps({**GOOD, "tools": "zebra"}).encode(), "tools", "a list of 1 to 128"),
    (
        "parallel tool calls",
        json.dumps({**GOOD, "parallel_tool_calls": "zebra"}).encode(),
        "parallel_tool_calls",
        "true or false",
    ),
]


@pytest.mark.parametrize(
    ("data", "line", "words"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES]
)
def test_a_bad_file_is_diagnosed_with_its_line(data: bytes, line: int | None, words: str) -> None:
    error = refusal(data)
    assert error.line == line
    assert words in str(error)


@pytest.mark.parametrize(
    ("data", "field", "words"), [case[1:] for case in BAD_EXAMPLES], ids=[case[0] for case in BAD_EXAMPLES]
)
def test_a_bad_example_is_diagnosed_with_its_field_and_without_its_text(data: bytes, field: str, words: str) -> None:
    error = refusal(data)
    assert error.line == 1
    assert error.field == field
    assert words in str(error)
    assert SECRET not in str(error)


def test_a_line_without_end_is_refused_before_it_is_all_read() -> None:
    chunks_read = 0

    def chunks() -> Any:
        nonlocal chunks_read
        while True:
            chunks_read += 1
            yield b" " * 1024**2

    with pytest.raises(ExampleInvalid, match="longer than 8 MiB"):
        list(read_examples(chunks()))
    assert chunks_read == MAX_LINE_BYTES // 1024**2 + 1


@pytest.mark.parametrize(
    "data",
    [
        b"%s",
        b"%s\n",
        b"\xef\xbb\xbf%s\r\n",
        b"\n\n%s\n\n",
    ],
)
def test_what_editors_do_to_a_file_is_accepted(data: bytes) -> None:
    (read,) = read_examples([data % json.dumps(GOOD).encode()])
    assert [message["content"] for message in read.messages] == ["hello", "hi"]


def test_line_numbers_count_blank_lines_and_chunks_may_cut_anywhere(tmp_path: Path) -> None:
    data = b"\n" + json.dumps(GOOD).encode() + b"\n\n" + json.dumps(GOOD).encode()
    (tmp_path / "file").write_bytes(data)
    expected = list(read_examples(tmp_path / "file"))
    assert [example.line for example in expected] == [2, 4]
    assert list(read_examples(data[i : i + 1] for i in range(len(data)))) == expected


def test_only_assistant_messages_of_weight_1_are_trained_on() -> None:
    (found,) = read(
        {"messages": [user("a"), assistant("b", weight=0), user("c"), assistant("d", weight=1), assistant("e")]}
    )
    assert found.trained == (False, False, False, True, True)
    assert all("weight" not in message for message in found.messages)


def test_messages_are_given_in_the_form_the_engine_gives_the_template() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    (found,) = read(
        {
            "messages": [
                {"role": "developer", "content": parts, "name": None},
                {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
                {"role": "tool", "content": "3", "tool_call_id": "call_1"},
                {"role": "assistant", "content": None, "refusal": "no"},
            ],
            "tools": [TOOL],
            "parallel_tool_calls": False,
        }
    )
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": {"b": 1, "a": [2]}}}
    assert found.messages == (
        {"role": "developer", "content": "one\ntwo"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "no"},
    )
    function = {"name": "look_up", "description": None, "parameters": {"type": "object"}}
    assert found.tools == ({"type": "function", "function": function},)


def test_the_deprecated_function_spelling_is_read_as_todays() -> None:
    (found,) = read(
        {
            "messages": [
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
                {"role": "function", "name": "f", "content": None},
            ],
            "functions": [{"name": "f", "description": "d", "strict": True}],
        }
    )
    assert found.messages[0]["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    assert found.messages[1] == {"role": "tool", "content": "", "name": "f"}
    function = {"name": "f", "description": "d", "parameters": None, "strict": True}
    assert found.tools == ({"type": "function", "function": function},)


def test_a_job_fails_with_openais_words() -> None:
    message = refusal(messages(user("a"))).job_message()
    assert message.startswith("The job failed due to an invalid training file. Invalid file format. Line 1")
    assert refusal(b"").job_message("validation").startswith("The job failed due to an invalid validation file. ")
    assert too_few_examples(7) == "Training file has 7 example(s), but must have at least 10 examples"
