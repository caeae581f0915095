"""From the engine's bytes to OpenAI's, by allowlist."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from inference.engine import EngineRefusal
from inference.fake_engine import whole_answer
from server.base_models import BaseModelEntry
from server.chat.answer import rewrite_answer
from server.relay.answers import AnswerUnusable, Naming
from server.relay.engine_errors import describe_refusal

NAMING = Naming(asked="gpt-4o-mini", engine="base")
BODY = {"model": "base", "messages": [{"role": "user", "content": "Hello"}]}
BASE = BaseModelEntry(name="base", source="x", context_length=1024)
PRIVATE = [
    "prompt_token_ids",
    "prompt_text",
    "token_ids",
    "kv_transfer_params",
    "stop_reason",
    "metrics",
    "prompt_logprobs",
    "routed_experts",
    "reasoning",
    "system_fingerprint",
    "ec_transfer_params",
]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def rewritten(**changes: Any) -> dict[str, Any]:
    """Rewrite an answer whose only choice has these changes."""
    answer = whole_answer(BODY)
    answer["choices"][0] |= changes
    return dict(json.loads(rewrite_answer(json.dumps(answer).encode(), NAMING)[0]))


def names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for entry in value.values() for name in names(entry)}
    return {name for entry in value for name in names(entry)} if isinstance(value, list) else set()


def test_an_answer_is_openais_and_names_the_model_that_was_asked() -> None:
    answer = rewritten()
    ChatCompletion.model_validate(answer, strict=True)
    assert answer["model"] == "gpt-4o-mini"
    assert answer["choices"][0]["message"]["content"] == "base read 1 messages"
    assert answer["choices"][0]["message"]["refusal"] is None
    assert answer["usage"]["total_tokens"] == 5


def test_private_fields_never_pass() -> None:
    raw = {**whole_answer(BODY), **dict.fromkeys(PRIVATE, "x"), "anything_new": 1}
    raw["choices"][0] |= dict.fromkeys(PRIVATE, "x")
    raw["choices"][0]["message"] |= {"reasoning": "x", "anything_new": 1}
    answer = json.loads(rewrite_answer(json.dumps(raw).encode(), NAMING)[0])
    assert names(answer).isdisjoint({*PRIVATE, "anything_new"})


def test_calls_stand_beside_null_content() -> None:
    message = {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning": None}
    choice = rewritten(message=message, finish_reason="tool_calls")["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [CALL]
    assert "tool_calls" not in rewritten()["choices"][0]["message"]


def test_log_probabilities_have_openais_form() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97]}
    given = {"content": [{**token, "top_logprobs": [{**token, "rank": 1}], "rank": 1}]}
    answer = rewritten(logprobs=given)
    assert answer["choices"][0]["logprobs"] == {"content": [{**token, "top_logprobs": [token]}], "refusal": None}
    ChatCompletion.model_validate(answer, strict=True)


@pytest.mark.parametrize("reason", ["abort", "error", None, 7])
def test_an_answer_the_engine_gave_up_is_not_passed_on(reason: object) -> None:
    with pytest.raises(AnswerUnusable):
        rewritten(finish_reason=reason)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"text", b'{"model": "base"}', b'{"error": {"message": "x"}}'])
def test_what_is_no_answer_is_not_passed_on(raw: bytes) -> None:
    with pytest.raises(AnswerUnusable):
        rewrite_answer(raw, NAMING)


def test_another_models_answer_is_not_passed_on() -> None:
    raw = json.dumps(whole_answer({**BODY, "model": "other"})).encode()
    with pytest.raises(AnswerUnusable, match="another model"):
        rewrite_answer(raw, NAMING)


def refused(status: int, message: str, param: str | None) -> dict[str, Any]:
    body = json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}})
    error = describe_refusal(EngineRefusal(status, body.encode()), BASE, "messages")
    return {"status": error.status, **error.body()["error"]}


@pytest.mark.parametrize("param", ["input_tokens", "input_text"])
def test_a_prompt_beyond_the_context_is_openais_error(param: str) -> None:
    error = refused(400, f"... (parameter={param}, value=SECRET)", param)
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "messages"
    assert error["message"].startswith("This model's maximum context length is 1024 tokens. However, ")


def test_a_completion_beyond_the_context_is_openais_error() -> None:
    error = refused(400, "max_tokens=3000 cannot be greater than", "max_tokens")
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")


def test_another_refusal_keeps_the_engines_words_without_the_values() -> None:
    error = refused(400, "token_id(s) out of vocabulary (parameter=logit_bias, value=SECRET)", "logit_bias")
    assert error["message"] == "Invalid request: token_id(s) out of vocabulary"
    assert (error["type"], error["param"], error["status"]) == ("invalid_request_error", "logit_bias", 400)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_engine_that_fails_is_not_ready(status: int) -> None:
    assert refused(status, "EngineCore encountered an issue", None)["status"] == 503


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"error": 1}', b"\xff"])
def test_a_refusal_in_no_known_form_is_still_an_error(body: bytes) -> None:
    assert describe_refusal(EngineRefusal(400, body), BASE, "messages").status == 400
