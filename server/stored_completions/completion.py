"""What is kept of a request and its answer (pure). OpenAI: CreateChatCompletionResponse, as its lists hold it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.relay.accounts import Usage
from server.stored_completions.assembling import assemble

JsonObject = dict[str, Any]
MODEL = "model"  # the label that names the model
_PAIR = "metadata."  # begins the label of a pair
_OF_A_LABEL = 100  # bytes that one takes beside its texts
_OF_A_ROW = 400
# Parameters that OpenAI shows of a stored completion, with what each is if it was not sent.
_ALWAYS: JsonObject = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": None,
    "tools": None,
    "tool_choice": None,
    "response_format": None,
}
_IF_SENT = (
    "max_completion_tokens",
    "max_tokens",
    "n",
    "parallel_tool_calls",
    "reasoning_effort",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
)


@dataclass(frozen=True)
class Completion:
    """A chat completion to be stored."""

    id: str
    model: str
    created_at: int  # unix seconds
    metadata: Mapping[str, str]
    shown: bytes = field(repr=False)  # JSON
    messages: bytes = field(repr=False)  # JSON

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.model, self.metadata)

    @property
    def size_bytes(self) -> int:
        return len(self.shown) + len(self.messages) + bytes_beside(self.labels)


def build_completion(request: bytes, answer: bytes, usage: Usage, request_id: str) -> Completion:
    """Put together what was asked (the client's own bytes) and what was answered: JSON, or the events of a stream."""
    asked: JsonObject = orjson.loads(request)
    told = assemble(answer, usage) if asked.get("stream") else orjson.loads(answer)
    parameters = {name: default if asked.get(name) is None else asked[name] for name, default in _ALWAYS.items()}
    parameters |= {name: asked[name] for name in _IF_SENT if asked.get(name) is not None}
    shown = told | parameters | {"request_id": request_id, "input_user": asked.get("user"), "system_fingerprint": None}
    return Completion(
        id=told["id"],
        model=told["model"],
        created_at=told["created"],
        metadata=asked.get("metadata") or {},
        shown=orjson.dumps(shown),
        messages=orjson.dumps(asked["messages"]),
    )


def labels_of(model: str | None, metadata: Mapping[str, str]) -> dict[str, str]:
    """Name what a completion can be found by. `None`: by any model."""
    return ({} if model is None else {MODEL: model}) | {_PAIR + key: value for key, value in metadata.items()}


def bytes_beside(labels: Mapping[str, str]) -> int:
    """Estimate what is on disk beside the texts: the labels stand there twice, the pairs once more."""
    texts = sum(len(name.encode()) + len(value.encode()) for name, value in labels.items())
    return _OF_A_ROW + 3 * texts + _OF_A_LABEL * len(labels)
