"""Every parameter of OpenAI's that vLLM carries, by the official client through the relay to the real engine."""

import json
import math
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.engine.conftest import ALIAS, BASE_NAME, ask
from tests.relay_server import RelayServer

HELLO: list[Any] = [{"role": "user", "content": "Hello! Who are you?"}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "word": {"enum": ["red", "blue"]}},
    "required": ["ok", "word"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PRIVATE = (
    "prompt_token_ids",
    "token_ids",
    "kv_transfer_params",
    "stop_reason",
    "metrics",
    "prompt_logprobs",
    "routed_experts",
    "prompt_text",
    "reasoning",
)


@pytest.fixture
def http(service: RelayServer) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"authorization": "Bearer key-of-mine"}, timeout=60)


@pytest.mark.parametrize("name", [BASE_NAME, ALIAS])
def test_the_answer_names_the_model_that_was_asked(client: openai.OpenAI, name: str) -> None:
    answer = client.chat.completions.create(model=name, messages=HELLO, max_tokens=3)
    assert answer.model == name
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3
    chunks = list(client.chat.completions.create(model=name, messages=HELLO, max_tokens=3, stream=True))
    assert {chunk.model for chunk in chunks} == {name}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_as_long_as_it_may_be(client: openai.OpenAI, field: str) -> None:
    options: Any = {field: 2}
    answer = client.chat.completions.create(model=BASE_NAME, messages=HELLO, **options)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = ask(client, BASE_NAME)
    chunks = client.chat.completions.create(
        model=BASE_NAME,
        messages=HELLO,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *parts, last = list(chunks)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole
    assert last.usage is not None
    assert last.usage.completion_tokens <= 12


def test_the_same_seed_says_the_same(client: openai.OpenAI) -> None:
    first, again, other = (ask(client, BASE_NAME, temperature=1.5, seed=seed, max_tokens=24) for seed in (7, 7, 8))
    assert first == again != other


@pytest.mark.parametrize("temperature", [0, 1])
def test_several_answers_are_several(client: openai.OpenAI, temperature: float) -> None:
    answer = client.chat.completions.create(
        model=BASE_NAME, messages=HELLO, n=3, max_tokens=8, temperature=temperature, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    chunks = client.chat.completions.create(
        model=BASE_NAME, messages=HELLO, n=2, max_tokens=4, temperature=temperature, stream=True
    )
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


def test_an_answer_ends_before_a_stop_word(client: openai.OpenAI) -> None:
    whole = ask(client, BASE_NAME, max_tokens=24)
    stop = whole[3:5]
    answer = client.chat.completions.create(
        model=BASE_NAME, messages=HELLO, temperature=0, max_tokens=24, stop=["@@@", stop]
    )
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_log_probabilities_need_no_compiler(client: openai.OpenAI) -> None:
    """The engine of these tests has none in its PATH: without TORCHDYNAMO_DISABLE it would die here."""
    answer = client.chat.completions.create(
        model=BASE_NAME, messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=3, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    for token in logprobs.content:
        assert len(token.top_logprobs) == 3
        assert math.isclose(token.logprob, max(top.logprob for top in token.top_logprobs), abs_tol=1e-6)
    chunks = client.chat.completions.create(model=BASE_NAME, messages=HELLO, max_tokens=4, logprobs=True, stream=True)
    assert any(choice.logprobs for chunk in chunks for choice in chunk.choices)


def test_biases_and_penalties_change_what_is_said(client: openai.OpenAI) -> None:
    plain = ask(client, BASE_NAME, max_tokens=24)
    assert ask(client, BASE_NAME, max_tokens=24, logit_bias={str(token): -100 for token in range(300, 1300)}) != plain
    sampled = ask(client, BASE_NAME, temperature=1.5, seed=3, max_tokens=60)
    assert ask(client, BASE_NAME, temperature=1.5, seed=3, max_tokens=60, frequency_penalty=2) != sampled
    assert ask(client, BASE_NAME, temperature=2, top_p=0, max_tokens=24) == plain


def test_an_answer_follows_the_schema(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    said = json.loads(ask(client, BASE_NAME, response_format=wanted, max_tokens=100))
    assert set(said) == {"ok", "word"}
    assert said["word"] in ("red", "blue")


def test_the_clients_own_parsing_of_a_model_class_works(client: openai.OpenAI) -> None:
    class Verdict(BaseModel):
        ok: bool

    answer = client.chat.completions.parse(
        model=BASE_NAME, messages=HELLO, response_format=Verdict, max_tokens=100, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_a_json_object_is_one(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=BASE_NAME,
        messages=HELLO,
        response_format={"type": "json_object"},
        max_tokens=200,
        temperature=0,
        logit_bias={},
    )
    assert (answer.choices[0].message.content or "").lstrip().startswith("{")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}], ids=str)
def test_a_tool_is_called_when_it_must_be(client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model=BASE_NAME, messages=HELLO, tools=[WEATHER], tool_choice=choice, max_tokens=200, temperature=0
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments)["city"] in ("Oslo", "Rome")


def test_a_tool_call_can_be_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=BASE_NAME, messages=HELLO, tools=[WEATHER], tool_choice="required", max_tokens=200, temperature=0
    ) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls
    assert json.loads(calls[0].function.arguments)["city"] in ("Oslo", "Rome")


def test_a_conversation_with_a_tools_answer_goes_on(client: openai.OpenAI) -> None:
    call: Any = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "5 degrees"},
    ]
    answer = client.chat.completions.create(
        model=BASE_NAME, messages=messages, tools=[WEATHER], tool_choice="auto", max_tokens=8
    )
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"messages": [{"role": "user", "content": "one two three " * 2000}]}, "context_length_exceeded", "messages"),
        ({"max_tokens": 4000}, "context_length_exceeded", "max_tokens"),
        ({"logit_bias": {"9999999": 1}}, "invalid_value", "logit_bias"),
    ],
    ids=["a long prompt", "a long completion", "an unknown token"],
)
def test_what_the_engine_refuses_is_said_in_openais_words(
    client: openai.OpenAI, options: Any, code: str, param: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{"model": BASE_NAME, "messages": HELLO, "stream": stream, **options})
        assert (caught.value.code, caught.value.param) == (code, param)
        assert "one two three" not in caught.value.message


def test_a_schema_that_is_none_is_refused_and_the_engine_lives(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=BASE_NAME, messages=HELLO, response_format=wanted)
    assert ask(client, BASE_NAME)


def test_nothing_private_is_in_an_answer(http: httpx.Client) -> None:
    body = {"model": BASE_NAME, "messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 1}
    with http:
        whole = http.post("/v1/chat/completions", json=body).text
        streamed = http.post("/v1/chat/completions", json={**body, "stream": True}).text
    assert '"chat.completion"' in whole
    assert streamed.endswith("data: [DONE]\n\n")
    for name in PRIVATE:
        assert f'"{name}"' not in whole
        assert f'"{name}"' not in streamed
