"""The response object, as it begins and as it ends (pure). OpenAI: Response."""

from typing import Any

from server.errors import ApiError
from server.relay.fields import JsonObject
from server.responses.item_ids import output_id
from server.responses.request import ResponseRequest
from server.vocabulary import ResponseStatus

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}  # by the engine's word


def begin(request: ResponseRequest, status: ResponseStatus) -> JsonObject:
    """Give a response that has no output yet."""
    return {
        "id": request.id,
        "object": "response",
        "created_at": request.created_at,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": request.model,
        "output": [],
        "usage": None,
        **request.shown,
    }


def end(
    begun: JsonObject, output: list[JsonObject], finish_reason: str | None, usage: JsonObject, now: int
) -> JsonObject:
    """Give the response as it is when the model has had its say."""
    reason = None if finish_reason is None else _REASONS.get(finish_reason)
    is_whole = reason is None
    return begun | {
        "status": ResponseStatus.COMPLETED if is_whole else ResponseStatus.INCOMPLETE,
        "completed_at": now if is_whole else None,
        "incomplete_details": None if is_whole else {"reason": reason},
        "output": output,
        "usage": _usage(usage),
    }


def fail(begun: JsonObject, error: ApiError) -> JsonObject:
    """Give the response that came to nothing."""
    code = "rate_limit_exceeded" if error.status == 429 else "server_error" if error.status >= 500 else "invalid_prompt"
    return begun | {"status": ResponseStatus.FAILED, "error": {"code": code, "message": error.message}}


def cancel(begun: JsonObject) -> JsonObject:
    return begun | {"status": ResponseStatus.CANCELLED}


def item_status(finish_reason: str | None) -> str:
    """Say whether the last item is whole."""
    return "incomplete" if finish_reason in _REASONS else "completed"


def message_item(response_id: str, index: int, status: str, content: list[JsonObject]) -> JsonObject:
    identity = output_id("message", response_id, index)
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: list[JsonObject]) -> JsonObject:
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}


def call_item(response_id: str, index: int, status: str, called: tuple[str, str, str]) -> JsonObject:
    """`called`: the call's id, the function's name and its arguments."""
    call_id, name, arguments = called
    return {
        "id": output_id("function_call", response_id, index),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }


def read_logprobs(given: Any) -> list[JsonObject]:
    """Put a chat's log-probabilities in the form of a response's."""
    tokens = [] if given is None else given.get("content") or []
    return [_scored(token) | {"top_logprobs": [_scored(top) for top in token["top_logprobs"]]} for token in tokens]


def _scored(token: JsonObject) -> JsonObject:
    spelled = token["bytes"]
    if spelled is None:
        spelled = list(token["token"].encode())
    return {"token": token["token"], "bytes": spelled, "logprob": token["logprob"]}


def _usage(usage: JsonObject) -> JsonObject:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            "cache_write_tokens": 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": usage["total_tokens"],
    }
