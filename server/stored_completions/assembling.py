"""A streamed answer → the whole one that it is, from the very events that were sent (pure)."""

from typing import Any

import orjson

from inference.sse import EventSplitter
from server.relay.accounts import Usage

JsonObject = dict[str, Any]
_DONE = b"[DONE]"


def assemble(events: bytes, usage: Usage) -> JsonObject:
    """Give OpenAI's object of the answer. `usage`: of the whole of it, whether the client asked to be told or not."""
    answer: JsonObject = {}
    choices: dict[int, _Choice] = {}
    for payload in EventSplitter().feed(events):
        if payload == _DONE:
            break
        event = orjson.loads(payload)
        answer = answer or event
        for part in event["choices"]:
            choices.setdefault(part["index"], _Choice()).add(part)
    return {
        "id": answer["id"],
        "object": "chat.completion",
        "created": answer["created"],
        "model": answer["model"],
        "choices": [choices[index].whole(index) for index in sorted(choices)],
        "usage": whole_usage(usage),
        "service_tier": answer.get("service_tier"),
    }


def whole_usage(usage: Usage) -> JsonObject:
    """OpenAI: CompletionUsage."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class _Choice:
    """One choice as it grows."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._logprobs: list[JsonObject] | None = None
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None

    def add(self, part: JsonObject) -> None:
        delta = part["delta"]
        self._content.append(delta.get("content") or "")
        self._refusal.append(delta.get("refusal") or "")
        for call in delta.get("tool_calls") or ():
            self._calls.setdefault(call["index"], _Call()).add(call)
        if part.get("logprobs"):
            self._logprobs = self._logprobs or []
            self._logprobs += part["logprobs"]["content"] or ()
        self._finish_reason = part.get("finish_reason") or self._finish_reason

    def whole(self, index: int) -> JsonObject:
        calls = [self._calls[place].whole() for place in sorted(self._calls)]
        content = "".join(self._content)
        message: JsonObject = {
            "role": "assistant",
            "content": content or None if calls else content,
            "refusal": "".join(self._refusal) or None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = calls
        logprobs = None if self._logprobs is None else {"content": self._logprobs, "refusal": None}
        return {"index": index, "message": message, "finish_reason": self._finish_reason, "logprobs": logprobs}


class _Call:
    """One call of a function, whose arguments come in parts."""

    def __init__(self) -> None:
        self._id = self._name = ""
        self._arguments: list[str] = []

    def add(self, part: JsonObject) -> None:
        function = part.get("function") or {}
        self._id = self._id or part.get("id") or ""
        self._name = self._name or function.get("name") or ""
        self._arguments.append(function.get("arguments") or "")

    def whole(self) -> JsonObject:
        return {
            "id": self._id,
            "type": "function",
            "function": {"name": self._name, "arguments": "".join(self._arguments)},
        }
