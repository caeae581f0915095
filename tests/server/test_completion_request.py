"""Every field of a completions request, decided one by one."""

from typing import Any

import orjson
import pytest
from openai.types.completion_create_params import CompletionCreateParamsStreaming

from server.completions.request import read_request
from server.completions.request_fields import KNOWN
from server.errors import InvalidRequest

SECRET = "the client's own words"
COUNTED = {"include_usage": True, "continuous_usage_stats": True}
PRIVATE = [
    "add_special_tokens", "allowed_token_ids", "bad_words", "cache_salt", "ec_transfer_params", "guided_json",
    "ignore_eos", "include_stop_str_in_output", "kv_transfer_params", "length_penalty", "logprob_token_ids", "min_p",
    "min_tokens", "priority", "prompt_embeds", "prompt_logprobs", "repetition_penalty", "request_id",
    "response_format", "return_token_ids", "return_tokens_as_token_ids", "skip_special_tokens", "stop_token_ids",
    "structured_outputs", "top_k", "truncate_prompt_tokens", "use_beam_search", "vllm_xargs", "watermarking",
]  # fmt: skip


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "prompt": SECRET, **fields})


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_request(raw)
    assert SECRET not in caught.value.message
    return caught.value


def forwarded(**fields: Any) -> dict[str, Any]:
    return dict(orjson.loads(read_request(body(**fields)).body_for("engine-name", "s1:salt")))


def test_a_plain_request_is_forwarded_under_the_engines_name_with_the_projects_salt() -> None:
    assert forwarded() == {"prompt": SECRET, "model": "engine-name", "cache_salt": "s1:salt"}


def test_every_openai_field_is_decided() -> None:
    assert set(CompletionCreateParamsStreaming.__annotations__) <= KNOWN


def test_every_openai_field_the_engine_carries_is_passed_on() -> None:
    fields = {
        "echo": True,
        "frequency_penalty": 0.5,
        "logit_bias": {"50": -100},
        "logprobs": 5,
        "max_tokens": 0,
        "n": 2,
        "presence_penalty": -1,
        "prompt": [[1, 2], [3]],
        "seed": -3,
        "stop": ["a", "b"],
        "temperature": 1.5,
        "top_p": 0.5,
    }
    assert forwarded(**fields) == {**fields, "model": "engine-name", "cache_salt": "s1:salt"}


def test_what_has_no_effect_goes_no_further() -> None:
    assert forwarded(user="somebody", best_of=1, suffix=None, logprobs=None, stream=False).keys() == {
        "prompt", "model", "cache_salt", "stream",
    }  # fmt: skip


@pytest.mark.parametrize("wants_usage", [None, False, True])
def test_a_stream_is_always_counted_and_the_client_told_if_it_asked(wants_usage: bool | None) -> None:
    options = {} if wants_usage is None else {"stream_options": {"include_usage": wants_usage}}
    request = read_request(body(stream=True, **options))
    assert request.wants_usage == bool(wants_usage)
    assert orjson.loads(request.body_for("m", "s"))["stream_options"] == COUNTED


def test_several_greedy_completions_are_the_same_one() -> None:
    assert forwarded(n=3, temperature=0)["temperature"] == 0.01
    assert forwarded(n=1, temperature=0)["temperature"] == 0


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"model": ""}, "model", "missing_required_parameter"),
        ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
        ({"prompt": ["a"] * 65, "n": 2}, "n", "invalid_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"best_of": 3}, "best_of", "unsupported_value"),
        ({"best_of": 3, "n": 2}, "best_of", "unsupported_value"),
        ({"best_of": 21}, "best_of", "integer_above_max_value"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"logprobs": -1}, "logprobs", "integer_below_min_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"max_tokens": -1, "echo": True}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.0}, "max_tokens", "invalid_type"),
        ({"max_tokens": 2**60}, "max_tokens", "integer_above_max_value"),
        ({"echo": 1}, "echo", "invalid_type"),
        ({"logit_bias": {"-1": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias", "decimal_above_max_value"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stop": ""}, "stop", "empty_string"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
        ({"seed": 2**63}, "seed", "integer_above_max_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}},
         "stream_options.continuous_usage_stats", "unknown_parameter"),
        ({"messages": []}, "messages", "unknown_parameter"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    error = refusal(body(**fields))
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize("name", PRIVATE)
def test_the_engines_private_switches_are_refused_by_name(name: str) -> None:
    error = refusal(body(**{name: 1}))
    assert (error.param, error.code) == (name, "unknown_parameter")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"model": "m", "prompt": NaN}', b'{"model": "m", "prompt": "\\ud800"}', b"\xff", b"[" * 9999]
)
def test_what_is_no_json_object_is_said_not_to_be(raw: bytes) -> None:
    assert "We could not parse the JSON body of your request" in refusal(raw).message


def test_a_field_that_comes_twice_counts_once() -> None:
    request = read_request(b'{"model": "m", "prompt": "a", "prompt": "b", "max_tokens": 1, "max_tokens": 2}')
    sent = request.body_for("m", "s")
    assert sent.count(b'"prompt"') == sent.count(b'"max_tokens"') == 1
    assert orjson.loads(sent)["max_tokens"] == 2
