"""A request for a response becomes one of the engine's chat, or is refused by name; what it asked is shown again."""

import json
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.responses import response
from server.responses.before import Before
from server.responses.request import ResponseRequest, read_request
from server.vocabulary import ResponseStatus

FUNCTION: dict[str, Any] = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", **FUNCTION}
SCHEMA = {"name": "answer", "schema": {"type": "object"}, "strict": True}
CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


def read(input: Any = "Hello", **fields: Any) -> ResponseRequest:
    return read_request(json.dumps({"model": "m", "input": input, **fields}).encode())


def whole(input: Any = "Hello", before: list[Any] | None = None, **fields: Any) -> ResponseRequest:
    return read(input, **fields).completed("resp_x", 7, Before(before or []), {})


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ("Hello", [{"role": "user", "content": "Hello"}]),
        ([{"role": "user", "content": "Hello"}], [{"role": "user", "content": "Hello"}]),
        (
            [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": t} for t in "ab"]}],
            [{"role": "user", "content": "a\nb"}],
        ),
        ([{"role": "developer", "content": "Be brief"}], [{"role": "developer", "content": "Be brief"}]),
        (
            [
                {
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Hi"}],
                }
            ],
            [{"role": "assistant", "content": "Hi"}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}],
            [{"role": "assistant", "content": "No"}],
        ),
        ([CALL], [{"role": "assistant", "content": "", "tool_calls": [CALLED]}]),
        (
            [{"role": "assistant", "content": "Let me see"}, CALL, {**CALL, "call_id": "c2"}],
            [{"role": "assistant", "content": "Let me see", "tool_calls": [CALLED, {**CALLED, "id": "c2"}]}],
        ),
        (
            [CALL, {"type": "function_call_output", "call_id": "c1", "output": "rain"}],
            [
                {"role": "assistant", "content": "", "tool_calls": [CALLED]},
                {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            ],
        ),
        (
            [{"role": "user", "content": "x"}, {"type": "reasoning", "id": "rs_1", "summary": []}],
            [{"role": "user", "content": "x"}],
        ),
    ],
)
def test_items_become_the_messages_of_a_chat(given: Any, messages: list[Any]) -> None:
    assert whole(given).fields["messages"] == messages


def test_instructions_come_first_and_what_came_before_in_between() -> None:
    before = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}]

    assert whole("More", before, instructions="Be brief").fields["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "More"},
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"top_p": 0}, {"top_p": 1e-9}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["reasoning.encrypted_content"], "top_logprobs": 2}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", **SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
        (
            {"tools": [TOOL]},
            {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "auto", "parallel_tool_calls": True},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "get_weather"}, "parallel_tool_calls": False},
            {
                "tools": [{"type": "function", "function": FUNCTION}],
                "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
                "parallel_tool_calls": False,
            },
        ),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        (
            {"service_tier": "auto", "user": "u", "prompt_cache_key": "k", "max_tool_calls": 3, "metadata": {"a": "b"}},
            {},
        ),
        ({"temperature": None, "tools": None, "text": None, "store": None, "prompt": None}, {}),
    ],
)
def test_fields_become_those_of_a_chat(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(**fields).fields == expected


def test_the_engine_is_given_its_own_names_and_a_salt_alone() -> None:
    body = json.loads(whole(user="u", stream=True).body_for("engine's", "salt"))

    assert body == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "engine's",
        "cache_salt": "salt",
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }


def test_a_response_shows_again_what_it_was_asked_with() -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief",
        "max_output_tokens": 5,
        "metadata": {"a": "b"},
        "temperature": 0,
        "top_p": 0,
        "tools": [{"description": None, "strict": True, **TOOL}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "description": None, **SCHEMA}, "verbosity": "medium"},
        "reasoning": {"effort": "low", "summary": None},
        "store": False,
        "top_logprobs": 2,
        "user": "u",
        "truncation": "disabled",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    shown = response.begin(whole(**fields), ResponseStatus.IN_PROGRESS)

    assert {name: shown[name] for name in fields} == fields
    assert (shown["id"], shown["created_at"], shown["model"]) == ("resp_x", 7, "m")


def test_items_without_an_id_get_one_that_nobody_can_guess() -> None:
    items = whole([{"role": "user", "content": "a"}, {"role": "user", "content": "b", "id": "mine"}, CALL]).items
    others = read("a").completed("resp_y", 7, Before(), {}).items

    assert [item["id"][:4] for item in items] == ["msg_", "mine", "fc_" + items[2]["id"][3]]
    assert others[0]["id"] != items[0]["id"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"context_management": []}, "context_management", "unsupported_parameter"),
        ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
        ({"image": {}}, "image", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_value"),
        ({"service_tier": "flex"}, "service_tier", "unsupported_value"),
        ({"background": True, "store": False}, "background", "invalid_value"),
        ({"background": True, "stream": True}, "stream", "unsupported_value"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_value"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_value"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type", "unsupported_value"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading", "unsupported_parameter"),
        ({"tools": [{**TOOL, "cache_salt": "x"}]}, "tools[0].cache_salt", "unknown_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": FUNCTION}]}, "tools[0].function", "unknown_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "unsupported_value"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type", "unsupported_value"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_value"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", "missing_required_parameter"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "invalid_value"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unknown_parameter"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata", "object_above_max_properties"),
        ({"metadata": {"k": "x" * 513}}, "metadata", "string_above_max_length"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"previous_response_id": ""}, "previous_response_id", "empty_string"),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"cache_salt": "x"}, "cache_salt", "unknown_parameter"),
        ({"store": "yes"}, "store", "invalid_type"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        (None, "input", "missing_required_parameter"),
        ([], "input", "empty_array"),
        (3, "input", "invalid_type"),
        (["Hello"], "input[0]", "invalid_type"),
        ([{"role": "tool", "content": "x"}], "input[0].role", "invalid_value"),
        ([{"role": "user"}], "input[0].content", "missing_required_parameter"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0].type", "unsupported_content"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "input[0].content[0].type", "unsupported_content"),
        ([{"role": "user", "content": [{"type": "secret"}]}], "input[0].content[0].type", "invalid_value"),
        ([{"role": "user", "content": "x", "name": "n"}], "input[0].name", "unknown_parameter"),
        ([{"type": "web_search_call", "id": "ws_1"}], "input[0].type", "unsupported_value"),
        ([{"type": "function_call", "name": "f"}], "input[0].call_id", "missing_required_parameter"),
        ([{**CALL, "arguments": "[]"}], "input[0].arguments", "invalid_value"),
        ([{"type": "function_call_output", "call_id": "c"}], "input[0].output", "missing_required_parameter"),
        ([{"type": "item_reference"}], "input[0].id", "missing_required_parameter"),
        ([{"role": "user", "content": "x", "id": "i" * 129}], "input[0].id", "invalid_value"),
    ],
)
def test_an_input_that_is_none_is_refused(given: Any, param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(given)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("given", "before", "param"),
    [
        ([{"type": "function_call_output", "call_id": "c9", "output": "x"}], [], "input"),
        ("x", [{**CALL, "arguments": '{"ci'}], "previous_response_id"),
    ],
)
def test_a_conversation_that_no_template_renders_is_refused(given: Any, before: list[Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        whole(given, before)
    assert refused.value.param == param
