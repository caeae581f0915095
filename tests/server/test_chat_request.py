"""Every field of a chat request, decided one by one."""

import json
from typing import Any

import orjson
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from server.chat.request import read_request
from server.errors import InvalidRequest

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
SECRET = "the client's own words"


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": HELLO, **fields})


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_request(raw)
    assert SECRET not in caught.value.message
    return caught.value


def forwarded(**fields: Any) -> dict[str, Any]:
    return dict(orjson.loads(read_request(body(**fields)).body_for("engine-name", "s1:salt")))


def test_a_plain_request_is_forwarded_under_the_engines_name_with_the_projects_salt() -> None:
    assert forwarded() == {"messages": HELLO, "model": "engine-name", "cache_salt": "s1:salt"}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"model": NaN}', b'{"a": "\\ud800"}', b"[" * 2000])
def test_what_is_not_json_is_said_not_to_be(raw: bytes) -> None:
    assert "We could not parse the JSON body of your request" in refusal(raw).message


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"text"', b"null"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    assert "not a JSON object" in refusal(raw).message


@pytest.mark.parametrize("raw", [b'{"messages": []}', b'{"model": null}', b'{"model": ""}'])
def test_a_missing_model_may_be_that_of_an_unfinished_job(raw: bytes) -> None:
    error = refusal(raw)
    assert error.message.startswith("you must provide a model parameter")
    assert "fine_tuned_model" in error.message
    assert (error.param, error.code) == ("model", "missing_required_parameter")


def test_every_openai_field_the_engine_carries_is_passed_on() -> None:
    fields = {
        "frequency_penalty": 0.5,
        "logit_bias": {"50": -100},
        "logprobs": True,
        "max_completion_tokens": 5,
        "max_tokens": 7,
        "n": 2,
        "parallel_tool_calls": False,
        "presence_penalty": -1,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        "seed": -3,
        "stop": ["a", "b"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1.5,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "tools": [TOOL],
        "top_logprobs": 3,
        "top_p": 0.5,
    }
    sent = forwarded(**fields)
    assert {name: sent[name] for name in fields} == fields


def test_openais_fields_without_a_meaning_here_are_accepted_and_go_no_further() -> None:
    sent = forwarded(
        metadata={"a": "b"},
        modalities=["text"],
        prediction={"type": "content", "content": "x"},
        prompt_cache_key="k",
        prompt_cache_options={},
        prompt_cache_retention="24h",
        safety_identifier="s",
        service_tier="auto",
        store=False,
        user="u",
        verbosity="medium",
    )
    assert set(sent) == {"messages", "model", "cache_salt"}


@pytest.mark.parametrize(("store", "is_kept"), [(True, True), (False, False), (None, False)])
def test_what_is_to_be_stored_is_known_and_asks_the_engine_for_nothing_else(store: bool | None, is_kept: bool) -> None:
    body = {"model": "m", "messages": HELLO, "store": store, "metadata": {"a": "b"}}
    assert read_request(json.dumps(body).encode()).is_kept is is_kept
    assert set(forwarded(store=store, metadata={"a": "b"})) == {"messages", "model", "cache_salt"}


OFFICIAL = CompletionCreateParamsStreaming.__required_keys__ | CompletionCreateParamsStreaming.__optional_keys__


@pytest.mark.parametrize("name", sorted(OFFICIAL - {"model", "messages"}))
def test_every_field_of_the_official_client_is_known_and_null_is_the_same_as_absent(name: str) -> None:
    assert set(forwarded(**{name: None})) == {"messages", "model", "cache_salt"}


@pytest.mark.parametrize(
    "name",
    [
        "add_generation_prompt",
        "allowed_token_ids",
        "bad_words",
        "best_of",
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "continue_final_message",
        "documents",
        "echo",
        "guided_json",
        "ignore_eos",
        "kv_transfer_params",
        "min_p",
        "min_tokens",
        "mm_processor_kwargs",
        "priority",
        "prompt_embeds",
        "prompt_logprobs",
        "repetition_penalty",
        "request_id",
        "return_token_ids",
        "skip_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "top_k",
        "truncate_prompt_tokens",
        "use_beam_search",
        "vllm_xargs",
    ],
)
@pytest.mark.parametrize("value", [1, None], ids=["set", "null"])
def test_what_is_not_openais_is_refused_by_name(name: str, value: object) -> None:
    error = refusal(body(**{name: value}))
    assert error.message == f"Unrecognized request argument supplied: {name}"
    assert error.param == name


def test_all_unknown_fields_are_named_at_once() -> None:
    assert refusal(body(top_k=1, min_p=1)).message == "Unrecognized request arguments supplied: top_k, min_p"


NESTED: list[tuple[dict[str, Any], str]] = [
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"messages": [{"role": "user", "content": "x", "reasoning": "y"}]}, "messages[0].reasoning"),
    ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "uuid": "y"}]}]},
        "messages[0].content[0].uuid",
    ),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "defer_loading": True}}]},
        "tools[0].function.defer_loading",
    ),
    ({"response_format": {"type": "json_object", "structural_tag": {}}}, "response_format.structural_tag"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "regex": "a"}}},
        "response_format.json_schema.regex",
    ),
]


@pytest.mark.parametrize(("fields", "param"), NESTED, ids=[param for _, param in NESTED])
def test_private_switches_are_refused_wherever_they_are_nested(fields: dict[str, Any], param: str) -> None:
    error = refusal(body(**fields))
    assert error.message == f"Unknown parameter: '{param}'."
    assert error.param == param


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "messages", "Missing required parameter: 'messages'."),
    ({"messages": []}, "messages", "empty array"),
    ({"messages": "Hello"}, "messages", "expected an array of objects, but got a string"),
    ({"messages": ["Hello"]}, "messages[0]", "expected an object, but got a string"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "Missing required parameter"),
    ({"messages": [{"role": SECRET, "content": "x"}]}, "messages[0].role", "Supported values are: 'system'"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "Missing required parameter"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "expected a string or an array"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty array"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "Missing"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        "messages[0].content[0].type",
        "read text only, not 'image_url'",
    ),
    ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "only beside 'tool_calls'"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "Missing"),
    ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages[0].role", "deprecated"),
    ({"model": 7}, "model", "expected a string, but got an integer"),
    ({"model": "m" * 513}, "model", "string too long"),
    ({"temperature": "hot"}, "temperature", "Invalid type for 'temperature': expected a decimal, but got a string"),
    ({"temperature": 2.1}, "temperature", "above maximum value. Expected a value <= 2, but got 2.1"),
    ({"top_p": -0.1}, "top_p", "below minimum value"),
    ({"n": 0}, "n", "integer below minimum value. Expected a value >= 1, but got 0"),
    ({"n": 129}, "n", "above maximum"),
    ({"n": 1.5}, "n", "expected an integer, but got a decimal"),
    ({"n": True}, "n", "expected an integer, but got a boolean"),
    ({"max_tokens": 0}, "max_tokens", "below minimum"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
    ({"top_logprobs": 2}, "top_logprobs", "'logprobs' must be set to true"),
    ({"stop": ["a"] * 5}, "stop", "maximum length 4, but got an array with length 5"),
    ({"stop": ""}, "stop", "empty string"),
    ({"stop": [1]}, "stop", "expected a string"),
    ({"logit_bias": {"a": 1}}, "logit_bias", "token ids"),
    ({"logit_bias": {"1": 101}}, "logit_bias", "above maximum"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias", "too large"),
    ({"seed": 2**63}, "seed", "above maximum"),
    ({"stream": "yes"}, "stream", "expected a boolean"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when 'stream' is enabled"),
    ({"tool_choice": "auto"}, "tool_choice", "only allowed when 'tools' are specified"),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", "only allowed when 'tools' are specified"),
    ({"tools": []}, "tools", "empty array"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "of type 'function'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "pattern"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        "tool_choice",
        "not among 'tools'",
    ),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice", "'none', 'auto' and 'required'"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "only those the model may call"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "'text', 'json_object' and 'json_schema'"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "Missing required parameter",
    ),
    ({"functions": [{"name": "f"}]}, "functions", "Use 'tools'"),
    ({"function_call": "auto"}, "function_call", "Use 'tool_choice'"),
    ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio", "answer in text"),
    ({"modalities": ["text", "audio"]}, "modalities", "answer in text"),
    ({"web_search_options": {}}, "web_search_options", "no web search"),
    ({"moderation": {"model": "m"}}, "moderation", "no moderation model"),
    ({"store": "yes"}, "store", "expected a boolean"),
    ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 64}", "maximum length 64"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k", "maximum length 512"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16 properties"),
    ({"service_tier": "flex"}, "service_tier", "'auto' and 'default'"),
    ({"verbosity": "low"}, "verbosity", "one verbosity"),
    ({"metadata": {"a": 1}}, "metadata.a", "expected a string"),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "'none', 'minimal'"),
]


@pytest.mark.parametrize(("fields", "param", "words"), WRONG, ids=[f"{n}-{w[1]}" for n, w in enumerate(WRONG)])
def test_a_wrong_field_is_named_with_what_would_work(fields: dict[str, Any], param: str, words: str) -> None:
    error = refusal(body(**fields))
    assert words in error.message
    assert error.param == param
    assert error.code


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": schema}
    return schema


@pytest.mark.parametrize("schema", [deep(100), {"enum": ["x" * 1000] * 300}], ids=["deep", "long"])
def test_a_schema_too_large_to_compile_is_refused(schema: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert refusal(body(tools=[tool])).code == "schema_too_large"
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert refusal(body(response_format=wanted)).code == "schema_too_large"


def test_text_parts_are_joined_as_the_trainer_joins_them() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert forwarded(messages=[{"role": "user", "content": parts}])["messages"] == [
        {"role": "user", "content": "one\ntwo"}
    ]


def test_a_conversation_the_client_has_dumped_from_our_answers_can_be_sent_back() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    dumped = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [call],
    }
    messages = [*HELLO, dumped, {"role": "tool", "tool_call_id": "c1", "content": "5 °C"}]
    assert forwarded(messages=messages)["messages"] == [
        *HELLO,
        {"role": "assistant", "tool_calls": [call], "content": ""},
        {"role": "tool", "content": "5 °C", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("arguments", [SECRET, "[]", "1"])
def test_call_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    error = refusal(body(messages=[{"role": "assistant", "tool_calls": [call]}]))
    assert error.param == "messages[0].tool_calls[0].function.arguments"


def test_a_refusal_stands_for_content_that_is_missing() -> None:
    assert forwarded(messages=[{"role": "assistant", "content": None, "refusal": "No."}])["messages"] == [
        {"role": "assistant", "content": "No."}
    ]


def test_a_model_named_twice_is_the_one_that_was_checked() -> None:
    raw = b'{"model": "mine", "messages": [{"role": "user", "content": "x"}], "model": "other"}'
    request = read_request(raw)
    assert request.model == "other"
    for engine_name in ("engine-name", "other"):
        assert json.loads(request.body_for(engine_name, "s1:x"))["model"] == engine_name


def test_several_greedy_answers_are_asked_for_in_a_way_the_engine_takes() -> None:
    assert 0 < forwarded(n=2, temperature=0)["temperature"] <= 0.01
    assert forwarded(n=1, temperature=0)["temperature"] == 0


def test_top_p_of_zero_becomes_what_the_engine_takes() -> None:
    assert 0 < forwarded(top_p=0)["top_p"] < 1e-6


def test_a_field_of_which_openai_has_no_more_is_unknown_whatever_its_name_holds() -> None:
    error = refusal(body(**{SECRET * 10: 1}))
    assert json.dumps(error.body())
