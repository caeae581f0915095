"""Every format: what its good rows become, and which field of a bad row is named, on its line and without its text."""

import json
from typing import Any

import pytest
from format_rows import ANSWERED, ASKED, GOOD_ROWS, REFUSED, REMOVED, SCHEMA, TOOL, changed, json_lines

from trainer.contract.examples import (
    ChatExample,
    KtoExample,
    PreferenceExample,
    TextExample,
    format_of,
    read_examples,
    read_file,
)
from trainer.contract.faults import find_faults
from trainer.contract.formats.names import OF_METHOD, FileFormat, formats_of
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.spec import MethodName

SECRET = "zebra"
CHAT, PAIR, ALPACA, SHAREGPT = (
    GOOD_ROWS[FileFormat.CHAT][0],
    *(GOOD_ROWS[one][0] for one in (FileFormat.PROMPT_COMPLETION, FileFormat.ALPACA, FileFormat.SHAREGPT)),
)
SHAREGPT_CALL = GOOD_ROWS[FileFormat.SHAREGPT][3]
ANTHROPIC, ANTHROPIC_TOOLS = GOOD_ROWS[FileFormat.ANTHROPIC][0], GOOD_ROWS[FileFormat.ANTHROPIC][2]
TEXT, KTO = GOOD_ROWS[FileFormat.TEXT][0], GOOD_ROWS[FileFormat.KTO][0]
OPENAI_PAIR, STRING_PAIR = GOOD_ROWS[FileFormat.PREFERENCE][0], GOOD_ROWS[FileFormat.PREFERENCE][2]
WHOLE_PAIR = GOOD_ROWS[FileFormat.PREFERENCE][4]
CALLED = {"name": "look_up", "arguments": {"city": "Oslo"}}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


CONVERSATIONS: list[tuple[dict[str, Any], list[dict[str, Any]], list[bool]]] = [
    (PAIR, [user("Where is my parcel?"), assistant(" On its way.")], [False, True]),
    (
        GOOD_ROWS[FileFormat.PROMPT_COMPLETION][1],
        [system("Be brief."), user(""), assistant("On its way.")],
        [False, False, True],
    ),
    (GOOD_ROWS[FileFormat.PROMPT_COMPLETION][2], [ASKED, REFUSED, ASKED, ANSWERED], [False, False, False, True]),
    (ALPACA, [user("Name a fruit."), assistant("Pear.")], [False, True]),
    (GOOD_ROWS[FileFormat.ALPACA][1], [user("Translate.\n\npoire"), assistant("pear")], [False, True]),
    (
        GOOD_ROWS[FileFormat.ALPACA][3],
        [system("Count."), user("1?"), assistant("2"), user("And now?"), assistant("7")],
        [False, False, True, False, True],
    ),
    (SHAREGPT, [user("Hello"), assistant("Hi")], [False, True]),
    (GOOD_ROWS[FileFormat.SHAREGPT][1], [system("Be brief."), user("Hello"), assistant("Hi")], [False, False, True]),
    (GOOD_ROWS[FileFormat.SHAREGPT][2], [user("Hello"), assistant("Hi")], [False, True]),
    (changed(SHAREGPT, ["conversations", 1, "weight"], 0), [user("Hello"), assistant("Hi")], [False, False]),
    (
        SHAREGPT_CALL,
        [
            system("Be brief."),
            user("Weather?"),
            assistant("", tool_calls=[{"type": "function", "function": CALLED}]),
            {"role": "tool", "content": "rain", "name": "look_up"},
            assistant("It rains."),
        ],
        [False, False, True, False, True],
    ),
    (ANTHROPIC, [system("Be brief."), ASKED, ANSWERED], [False, False, True]),
    (GOOD_ROWS[FileFormat.ANTHROPIC][1], [user("a"), ANSWERED], [False, True]),
    (
        ANTHROPIC_TOOLS,
        [
            ASKED,
            assistant("I look.", tool_calls=[{"id": "toolu_1", "type": "function", "function": CALLED}]),
            {"role": "tool", "content": "rain", "tool_call_id": "toolu_1"},
            user("Thanks."),
            ANSWERED,
        ],
        [False, True, False, False, True],
    ),
]

Case = tuple[dict[str, Any], list[str | int], object, str, str]  # a row, what is changed, the field, words
SAID: list[str | int] = ["messages", 1, "content"]
BAD: list[Case] = [
    (PAIR, ["prompt"], REMOVED, "prompt", "It is missing."),
    (PAIR, ["completion"], REMOVED, "completion", "It is missing."),
    (PAIR, ["prompt"], 5, "prompt", "It must be the prompt: a string, or a list"),
    (PAIR, ["prompt"], [], "prompt", "at least one message"),
    (PAIR, ["completion"], {"text": SECRET}, "completion", "It must be the completion"),
    (PAIR, ["completion"], [ASKED], "completion", "At least one message must be from the assistant."),
    (PAIR, ["completion"], [{"content": SECRET}], "completion[0].role", "Every message needs a role."),
    (PAIR, ["system"], [SECRET], "system", "It must be a string"),
    (PAIR, ["tools"], SECRET, "tools", "a list of 1 to 128"),
    (ALPACA, ["instruction"], None, "instruction", "It is missing."),
    (ALPACA, ["instruction"], 5, "instruction", "It must be a string"),
    (ALPACA, ["instruction"], "", "instruction", "It is empty, and so is the input."),
    (ALPACA, ["input"], 5, "input", "It must be a string"),
    (ALPACA, ["output"], REMOVED, "output", "Give the answer, a string."),
    (ALPACA, ["output"], [SECRET], "output", "It must be a string"),
    (ALPACA, ["history"], SECRET, "history", "a list of pairs"),
    (ALPACA, ["history"], [["a", "b"], [SECRET]], "history[1]", "a list of two strings"),
    (SHAREGPT, ["conversations"], [], "conversations", "at least one turn"),
    (SHAREGPT, ["conversations"], SECRET, "conversations", "at least one turn"),
    (SHAREGPT, ["conversations", 1], SECRET, "conversations[1]", '"from" and "value"'),
    (SHAREGPT, ["conversations", 1, "from"], REMOVED, "conversations[1].from", "It is missing."),
    (SHAREGPT, ["conversations", 1, "from"], SECRET, "conversations[1].from", "Unknown role."),
    (SHAREGPT, ["conversations", 1, "from"], ["gpt"], "conversations[1].from", "Unknown role."),
    (
        SHAREGPT,
        ["conversations", 1, "from"],
        "human",
        "conversations",
        "At least one message must be from the assistant.",
    ),
    (SHAREGPT, ["conversations", 0, "value"], REMOVED, "conversations[0].value", "It must be a string."),
    (SHAREGPT, ["conversations", 0, "value"], 5, "conversations[0].value", "It must be a string."),
    (SHAREGPT, ["conversations", 0, "wieght"], 1, "conversations[0].wieght", "Unknown key"),
    (SHAREGPT, ["conversations", 0, SECRET + " and so on"], 1, "conversations[0].(unknown)", "Unknown key"),
    (SHAREGPT, ["conversations", 0, "weight"], 1, "conversations[0].weight", "Only what the assistant says"),
    (SHAREGPT, ["conversations", 1, "weight"], 0.5, "conversations[1].weight", "0 (not trained on) or 1"),
    (SHAREGPT_CALL, ["conversations", 1, "value"], SECRET, "conversations[1].value", "A call must be JSON"),
    (SHAREGPT_CALL, ["conversations", 1, "value"], '{"name": "f"}', "conversations[1].value", "A call must be JSON"),
    (SHAREGPT_CALL, ["conversations", 2, "name"], 5, "conversations[2].name", "must be a string"),
    (SHAREGPT_CALL, ["tools"], "[" + SECRET, "tools", "holds one as JSON"),
    (SHAREGPT_CALL, ["tools"], [{"description": SECRET}], "tools[0].name", "needs a name"),
    (SHAREGPT_CALL, ["conversations", 0, "from"], "system", "system", "two system prompts"),
    (ANTHROPIC, ["messages"], [], "messages", "at least one message"),
    (ANTHROPIC, ["messages"], None, "messages", "at least one message"),
    (ANTHROPIC, ["messages", 0], SECRET, "messages[0]", "must be an object"),
    (ANTHROPIC, ["messages", 0, "role"], "system", "messages[0].role", 'is given beside "messages"'),
    (ANTHROPIC, ["messages", 0, "role"], REMOVED, "messages[0].role", "must be user or assistant"),
    (ANTHROPIC, ["messages", 1, "role"], "user", "messages", "At least one message must be from the assistant."),
    (ANTHROPIC, ["messages", 1, "weight"], 1, "messages[1].weight", "Unknown key"),
    (ANTHROPIC, ["system"], 5, "system", "a list of text blocks"),
    (ANTHROPIC, ["system"], [], "system", "a list of text blocks"),
    (ANTHROPIC, ["system"], [{"type": "image"}], "system[0]", "a list of text blocks"),
    (ANTHROPIC, SAID, REMOVED, "messages[1].content", "a list of blocks"),
    (ANTHROPIC, SAID, [], "messages[1].content", "not empty"),
    (ANTHROPIC, SAID, [SECRET], "messages[1].content[0].type", "Unknown type of block"),
    (ANTHROPIC, SAID, [{"type": SECRET}], "messages[1].content[0].type", "Unknown type of block"),
    (ANTHROPIC, SAID, [{"type": "text"}], "messages[1].content[0].text", "must have a text"),
    (ANTHROPIC, SAID, [{"type": "thinking", "thinking": SECRET}], "messages[1].content[0].type", "type thinking"),
    (ANTHROPIC, ["messages", 0, "content"], [{"type": "image"}], "messages[0].content[0].type", "type image"),
    (ANTHROPIC, ["messages", 0, "content"], [{"type": "tool_use"}], "messages[0].content[0].type", "of the assistant"),
    (ANTHROPIC_TOOLS, [*SAID, 1, "id"], REMOVED, "messages[1].content[1].id", "must have id and name"),
    (ANTHROPIC_TOOLS, [*SAID, 1, "name"], 5, "messages[1].content[1].name", "must have id and name"),
    (ANTHROPIC_TOOLS, [*SAID, 1, "input"], "{}", "messages[1].content[1].input", "must be an object"),
    (
        ANTHROPIC_TOOLS,
        ["messages", 2, "content", 0, "tool_use_id"],
        REMOVED,
        "messages[2].content[0].tool_use_id",
        "must name the call",
    ),
    (
        ANTHROPIC_TOOLS,
        ["messages", 2, "content", 0, "content"],
        [{"type": "image"}],
        "messages[2].content[0].content[0]",
        "text blocks",
    ),
    (
        ANTHROPIC_TOOLS,
        ["messages", 2, "content"],
        [{"type": "text", "text": SECRET}, {"type": "tool_result", "tool_use_id": "toolu_1"}],
        "messages[2].content[1]",
        "must come before the text",
    ),
    (ANTHROPIC_TOOLS, ["tools"], SECRET, "tools", "a list of 1 to 128"),
    (ANTHROPIC_TOOLS, ["tools", 0], TOOL, "tools[0]", '"input_schema"'),
    (ANTHROPIC_TOOLS, ["tools", 0, "name"], REMOVED, "tools[0].name", "needs a name"),
    (ANTHROPIC_TOOLS, ["tools", 0, "description"], 5, "tools[0].description", "must be a string"),
    (ANTHROPIC_TOOLS, ["tools", 0, "input_schema"], REMOVED, "tools[0].input_schema", "a JSON Schema"),
    (TEXT, ["text"], None, "text", "It is missing."),
    (TEXT, ["text"], 5, "text", "It must be a string"),
    (TEXT, ["text"], "", "text", "It is empty"),
    (OPENAI_PAIR, ["input"], REMOVED, "prompt", "It is missing."),
    (OPENAI_PAIR, ["input", "messages"], REMOVED, "input.messages", "at least one message"),
    (OPENAI_PAIR, ["input", "messages"], [], "input.messages", "at least one message"),
    (OPENAI_PAIR, ["input", "messages", 0, "role"], SECRET, "input.messages[0].role", "Unknown role"),
    (OPENAI_PAIR, ["input", "parallel_tool_calls"], 1, "input.parallel_tool_calls", "true or false"),
    (OPENAI_PAIR, ["input", "tools"], [SECRET], "input.tools[0]", "A tool must be"),
    (OPENAI_PAIR, ["preferred_output"], REMOVED, "preferred_output", "It is missing."),
    (OPENAI_PAIR, ["preferred_output"], ANSWERED, "preferred_output", "Put the message into a list."),
    (OPENAI_PAIR, ["preferred_output"], [], "preferred_output", "at least one message"),
    (OPENAI_PAIR, ["non_preferred_output"], None, "non_preferred_output", "It is missing."),
    (OPENAI_PAIR, ["non_preferred_output", 0], ASKED, "non_preferred_output[0].role", "the assistant's answer"),
    (STRING_PAIR, ["prompt"], REMOVED, "prompt", "It is missing."),
    (STRING_PAIR, ["prompt"], 5, "prompt", "It must be the prompt"),
    (STRING_PAIR, ["chosen"], REMOVED, "chosen", "It is missing."),
    (STRING_PAIR, ["rejected"], 5, "rejected", "a string, or a list"),
    (STRING_PAIR, ["rejected"], [ASKED, REFUSED], "rejected", 'the same conversation as "chosen"'),
    (WHOLE_PAIR, ["prompt"], SECRET, "prompt", "none of the messages before the answers"),
    (WHOLE_PAIR, ["prompt"], [REFUSED], "prompt", "It differs from the messages"),
    (GOOD_ROWS[FileFormat.PREFERENCE][7], ["rejected_response"], REMOVED, "rejected_response", "It is missing."),
    (GOOD_ROWS[FileFormat.PREFERENCE][1], ["preferred_completion"], 5, "preferred_completion", "a string, or a list"),
    (KTO, ["prompt"], REMOVED, "prompt", "It is missing."),
    (KTO, ["prompt"], [], "prompt", "at least one message"),
    (KTO, ["completion"], REMOVED, "completion", "It is missing."),
    (KTO, ["completion"], [ANSWERED, ANSWERED], "completion", "exactly one message"),
    (KTO, ["completion"], [ASKED], "completion[0].role", "must be from the assistant"),
    (KTO, ["label"], REMOVED, "label", "It is missing."),
    (KTO, ["label"], 1, "label", "It must be true"),
]


@pytest.mark.parametrize("held", FileFormat)
def test_a_file_of_good_rows_is_in_its_format_and_has_no_fault(held: FileFormat) -> None:
    for first in GOOD_ROWS[held]:
        data = json_lines([first, *GOOD_ROWS[held]])
        found = find_faults([data], 10, method=None)
        assert (found.format, found.faults, found.n_examples) == (held, [], len(GOOD_ROWS[held]) + 1)
        assert format_of([data]) == held
        assert len(list(read_file([data]))) == found.n_examples


@pytest.mark.parametrize(("row", "messages", "trained"), CONVERSATIONS)
def test_whatever_is_supervised_becomes_a_conversation(
    row: dict[str, Any], messages: list[dict[str, Any]], trained: list[bool]
) -> None:
    (found,) = read_examples([json_lines([row])])
    assert list(found.messages) == messages
    assert list(found.trained) == trained


@pytest.mark.parametrize("row", [SHAREGPT_CALL, ANTHROPIC_TOOLS], ids=["ShareGPT", "Anthropic"])
def test_tools_become_openais(row: dict[str, Any]) -> None:
    (found,) = read_examples([json_lines([row])])
    function = {"name": "look_up", "description": "Weather.", "parameters": SCHEMA}
    assert found.tools == ({"type": "function", "function": function},)


@pytest.mark.parametrize("row", GOOD_ROWS[FileFormat.PREFERENCE], ids=range(len(GOOD_ROWS[FileFormat.PREFERENCE])))
def test_every_spelling_of_a_preference_is_the_same_pair(row: dict[str, Any]) -> None:
    (found,) = read_file([json_lines([row])])
    assert isinstance(found, PreferenceExample)
    assert [message["role"] for message in found.messages][-1] == "user"
    assert found.preferred["content"] in ("On its way.", "There.")
    assert found.non_preferred["content"] in ("No idea.", "Nowhere.")
    assert bool(found.tools) == ("tools" in json.dumps(row))


def test_text_and_kto_have_examples_of_their_own() -> None:
    assert list(read_file([json_lines([TEXT])])) == [TextExample(1, "Once upon a time.")]
    assert list(read_file([json_lines(GOOD_ROWS[FileFormat.KTO])])) == [
        KtoExample(1, (user("Where?"),), None, assistant("There."), True),
        KtoExample(2, (ASKED,), None, REFUSED, False),
    ]


def test_a_system_prompt_counts_once_and_an_empty_one_not_at_all() -> None:
    (found,) = read_examples([json_lines([changed(ANTHROPIC, ["system"], "")])])
    assert found == ChatExample(1, (ASKED, ANSWERED), (False, True), None)


@pytest.mark.parametrize(
    ("row", "path", "value", "field", "words"), BAD, ids=[f"{case[3]}-{i}" for i, case in enumerate(BAD)]
)
def test_a_bad_field_is_named_on_its_line_and_without_its_text(
    row: dict[str, Any], path: list[str | int], value: object, field: str, words: str
) -> None:
    data = json_lines([row, row]) + b"\n" + json_lines([changed(row, path, value), row])
    found = find_faults([data], 10, method=None)
    assert [(fault.line, fault.field) for fault in found.faults] == [(4, field)]
    assert words in str(found.faults[0])
    assert SECRET not in str(found.faults[0])
    with pytest.raises(ExampleInvalid) as caught:
        list(read_file([data]))
    assert str(caught.value) == str(found.faults[0])


@pytest.mark.parametrize("held", FileFormat)
@pytest.mark.parametrize("other", FileFormat)
def test_a_file_is_held_to_the_format_of_its_first_line(held: FileFormat, other: FileFormat) -> None:
    if other is held or (held, other) == (FileFormat.ANTHROPIC, FileFormat.CHAT):  # the plainer form of the same
        return
    data = json_lines([GOOD_ROWS[held][0], GOOD_ROWS[other][0], GOOD_ROWS[held][0]])
    found = find_faults([data], 10, method=None)
    (fault,) = found.faults
    assert (found.format, fault.line, found.n_examples) == (held, 2, 3)
    if (held, other) == (FileFormat.KTO, FileFormat.PROMPT_COMPLETION):
        assert fault.field == "label"
    else:
        assert f"It holds {other.spoken}, but the file began with {held.spoken}. " in str(fault)


@pytest.mark.parametrize(
    ("held", "method", "words", "rest"),
    [
        (
            FileFormat.CHAT,
            "dpo",
            "Input file is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' "
            "as the training method (provided method=dpo).",
            'Line 1, key "messages": It holds chat messages. Give "input", "preferred_output" and '
            "\"non_preferred_output\", or name the method 'supervised'.",
        ),
        (
            FileFormat.PREFERENCE,
            "supervised",
            "Input file is in the fine-tune-preference format, but the specified fine-tuning job is not using 'dpo' or "
            "'orpo' or 'simpo' as the training method (provided method=supervised).",
            'Line 1, key "preferred_output": It holds preference pairs. Give "messages", or "prompt" and "completion" '
            "alone, or name the method 'dpo' or 'orpo' or 'simpo'.",
        ),
        (FileFormat.KTO, "orpo", "not using 'kto' as the training method (provided method=orpo)", 'key "label"'),
        (FileFormat.PREFERENCE, "kto", "(provided method=kto)", 'Give "prompt", "completion" and "label", or name'),
        (FileFormat.PROMPT_COMPLETION, "simpo", "(provided method=simpo)", 'key "prompt"'),
        (FileFormat.TEXT, "supervised", "(provided method=supervised)", 'key "text": It holds plain text.'),
    ],
)
def test_a_file_that_is_for_another_method_is_refused_in_openais_words(
    held: FileFormat, method: MethodName, words: str, rest: str
) -> None:
    data = json_lines(GOOD_ROWS[held])
    found = find_faults([data], 10, method=method)
    assert (found.n_faults, found.faults[0].line) == (1, 1)
    assert str(found.faults[0]).startswith("Invalid file format. Input file is in the fine-tune-")
    assert words in str(found.faults[0])
    assert rest in str(found.faults[0])
    with pytest.raises(ExampleInvalid) as caught:
        list(read_file([data], method))
    assert str(caught.value) == str(found.faults[0])


@pytest.mark.parametrize("method", OF_METHOD)
def test_what_is_for_the_method_is_read(method: MethodName) -> None:
    for held in FileFormat:
        found = find_faults([json_lines(GOOD_ROWS[held])], 10, method=method)
        assert bool(found.faults) == (held not in formats_of(method))


def test_openais_text_parts_alone_are_not_anthropics() -> None:
    parts = [{"type": "text", "text": "a"}]
    assert format_of([json_lines([{"messages": [{"role": "user", "content": parts}, ANSWERED]}])]) == FileFormat.CHAT
    assert format_of([json_lines([{"system": None, "messages": [ASKED, ANSWERED]}])]) == FileFormat.CHAT
