"""The engine's answers → OpenAI's, by an allowlist of OpenAI's fields (pure): private ones never pass.

OpenAI: CreateChatCompletionResponse, CreateChatCompletionStreamResponse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.chat.accounts import Usage

_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

Json = Mapping[str, Any]


class AnswerUnusable(Exception):
    """The engine's answer is not one to pass on: an error, another model's, or not an answer at all."""


class AnswerRefused(AnswerUnusable):
    """The engine says in its stream, where its status is already 200, that it refuses the request."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__("the engine refused the request")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Naming:
    """One model, two names."""

    asked: str  # as the client knows it
    engine: str  # as the engine does


def rewrite_answer(raw: bytes, naming: Naming) -> tuple[bytes, Usage]:
    """Give a whole answer in OpenAI's form, and what it came to.

    Raises:
        AnswerUnusable: nothing of it may be shown.
    """
    try:
        answer = orjson.loads(raw)
        _check_model(answer, naming)
        return orjson.dumps(_completion(answer, naming.asked)), read_usage(answer["usage"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerUnusable("the engine's answer has another form than expected") from error


def rewrite_chunk(event: Json, naming: Naming, *, wants_usage: bool) -> bytes:
    """Give a chunk of a stream, parsed, in OpenAI's form.

    Raises:
        AnswerUnusable: it is another model's.
        KeyError, TypeError, AttributeError: it has another form than expected.
    """
    _check_model(event, naming)
    chunk = {
        **chunk_head(event["id"], event["created"], naming.asked),
        "choices": [_chunk_choice(choice) for choice in event["choices"]],
    }
    if wants_usage:
        chunk["usage"] = None if event["choices"] else _usage(event.get("usage"))
    return orjson.dumps(chunk)


def chunk_head(identity: object, created: object, asked: str) -> dict[str, Any]:
    """What every chunk of a stream begins with."""
    return {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": created,
        "model": asked,
        "service_tier": "default",
    }


def _check_model(answer: Json, naming: Naming) -> None:
    if "error" in answer:
        raise AnswerUnusable("the engine failed while it answered")
    if answer["model"] != naming.engine:
        raise AnswerUnusable("another model answered than was asked")


def _completion(answer: Json, asked: str) -> dict[str, Any]:
    return {
        "id": answer["id"],
        "object": "chat.completion",
        "created": answer["created"],
        "model": asked,
        "choices": [_choice(choice) for choice in answer["choices"]],
        "usage": _usage(answer["usage"]),
        "service_tier": "default",
    }


def _choice(choice: Json) -> dict[str, Any]:
    message = choice["message"]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    written = {
        "role": "assistant",
        "content": (message.get("content") or None) if calls else message.get("content"),
        "refusal": message.get("refusal"),
        "annotations": [],
    }
    if calls:
        written["tool_calls"] = calls
    return {
        "index": choice["index"],
        "message": written,
        "logprobs": _logprobs(choice.get("logprobs")),
        "finish_reason": _finish_reason(choice["finish_reason"]),
    }


def _chunk_choice(choice: Json) -> dict[str, Any]:
    delta = choice["delta"]
    written = {name: delta[name] for name in ("role", "content", "refusal") if name in delta}
    if delta.get("tool_calls"):
        written["tool_calls"] = [_call_part(call) for call in delta["tool_calls"]]
    reason = choice.get("finish_reason")
    return {
        "index": choice["index"],
        "delta": written,
        "logprobs": _logprobs(choice.get("logprobs")),
        "finish_reason": None if reason is None else _finish_reason(reason),
    }


def _finish_reason(reason: object) -> str:
    if reason not in _FINISH_REASONS:
        raise AnswerUnusable("the engine gave an answer up")
    return str(reason)


def _call(call: Json) -> dict[str, Any]:
    function = call["function"]
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": function["arguments"]},
    }


def _call_part(call: Json) -> dict[str, Any]:
    part = {name: call[name] for name in ("index", "id", "type") if call.get(name) is not None}
    function = call.get("function") or {}
    part["function"] = {name: function[name] for name in ("name", "arguments") if function.get(name) is not None}
    return part


def _logprobs(logprobs: Json | None) -> dict[str, Any] | None:
    if logprobs is None or logprobs.get("content") is None:
        return None
    return {"content": [_token(token) for token in logprobs["content"]], "refusal": None}


def _token(token: Json) -> dict[str, Any]:
    return {**_scored(token), "top_logprobs": [_scored(other) for other in token.get("top_logprobs") or ()]}


def _scored(token: Json) -> dict[str, Any]:
    return {"token": token["token"], "logprob": token["logprob"], "bytes": token.get("bytes")}


def read_usage(usage: Json) -> Usage:
    """Read the engine's own count.

    Raises: KeyError, TypeError, ValueError: it is none.
    """
    details = usage.get("prompt_tokens_details") or {}
    return Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]), int(details.get("cached_tokens") or 0))


def _usage(usage: Json | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
