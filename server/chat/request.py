"""The body of a chat request → a checked request, or an error (pure). OpenAI: CreateChatCompletionRequest.

Every field of OpenAI's is decided in `request_fields`; everything else is refused by name, the engine's private
switches above all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.chat.messages import read_messages
from server.chat.request_fields import KNOWN, PASSED_ON, WITHOUT_EFFECT
from server.chat.tools import check_tool_use
from server.errors import InvalidRequest
from server.relay.fields import JsonObject, missing, unrecognized, wrong_type
from server.request_validation import NOT_JSON

MAX_MODEL_NAME = 512  # characters
_NEARLY_GREEDY = 0.01
_NO_MODEL = (
    "you must provide a model parameter. If it is a fine-tuning job's 'fine_tuned_model': that is null until the job "
    "has succeeded; wait for the job to finish, then retrieve it again."
)
_MOST_ECHOED = 64 * 1024  # bytes of requests, one for each choice
# Asked of every stream: what an answer came to is known in its last chunk, and of one that is cut, in each before:
# by the ids of its tokens, which cost the engine nothing but the prompt's, or by a count, which costs it each time.
_BY_IDS: JsonObject = {"stream_options": {"include_usage": True}, "return_token_ids": True}
_BY_COUNT: JsonObject = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


_CHECKED_TOGETHER = frozenset(
    {"stream_options", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "n", "temperature"}
)


@dataclass(slots=True, eq=False)  # frozen, it would take three times as long to make
class ChatRequest:
    """A request that may be put to an engine, once the engine's own name of the model is known."""

    model: str  # as asked
    stream: bool
    wants_usage: bool  # in a stream
    fields: Mapping[str, Any] = field(repr=False)  # for the engine; without `model`
    raw: bytes = field(repr=False)  # as the client wrote it
    changed: Mapping[str, Any] | None = field(
        repr=False
    )  # fields that differ from `raw`; None: more does than can be put behind it
    is_kept: bool = False

    def body_for(self, model: str, cache_salt: str) -> bytes:
        """Give the engine's request: its own name of the model, and a salt that keeps projects' caches apart.

        The client's own bytes go on, with what differs behind them: the engine's parser is Python's, for which the
        last of several equal keys is the one that counts. Write all requests anew for an engine with another parser.
        """
        added: JsonObject = {"cache_salt": cache_salt}
        if self.stream:
            is_short = len(self.raw) * self.fields.get("n", 1) <= _MOST_ECHOED
            added |= _BY_IDS if is_short else _BY_COUNT
        if self.changed is None:
            return orjson.dumps({**self.fields, "model": model, **added})
        if model != self.model:
            added["model"] = model
        return self.raw.rstrip()[:-1] + b"," + orjson.dumps({**self.changed, **added})[1:]


def read_request(raw: bytes) -> ChatRequest:
    """Check a body.

    Raises:
        InvalidRequest: in OpenAI's words; the message repeats nothing of the messages.
    """
    body = _read_json(raw)
    model = _read_model(body)
    if not body.keys() <= KNOWN:
        raise unrecognized([name for name in body if name not in KNOWN])
    if body.get("messages") is None:
        raise missing("messages")
    fields: JsonObject = {"messages": read_messages(body["messages"])}
    for name, given in body.items():
        if given is None:
            continue  # OpenAI takes an explicit null for an absent field
        if (check := PASSED_ON.get(name)) is not None:
            if (value := check(given, name)) is not None:
                fields[name] = value
        elif (check := WITHOUT_EFFECT.get(name)) is not None:
            check(given, name)
    _check_together(fields)
    options = fields.pop("stream_options", None) or {}
    stream = bool(fields.get("stream"))
    n_replaced = 1 + (stream and "stream_options" in body)  # with the model's name
    changed = _changed(body, fields) if len(body) - len(fields) == n_replaced else None
    return ChatRequest(model, stream, bool(options.get("include_usage")), fields, raw, changed)


def _changed(body: JsonObject, fields: JsonObject) -> JsonObject | None:
    """Say which fields differ from what the client wrote; None: messages do, which are most of it."""
    changed = {name: value for name, value in fields.items() if value is not body[name] and value != body[name]}
    return None if "messages" in changed else changed


def _read_json(raw: bytes) -> JsonObject:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest(NOT_JSON) from None
    if not isinstance(body, dict):
        raise InvalidRequest(NOT_JSON.replace("was not valid JSON", "was not a JSON object"))
    return body


def _read_model(body: JsonObject) -> str:
    model = body.get("model")
    if model is None:
        raise InvalidRequest(_NO_MODEL, param="model", code="missing_required_parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if not model:
        raise InvalidRequest(_NO_MODEL, param="model", code="missing_required_parameter")
    if len(model) > MAX_MODEL_NAME:
        raise InvalidRequest(
            f"Invalid 'model': string too long. Expected a string with maximum length {MAX_MODEL_NAME}, "
            f"but got a string with length {len(model)} instead.",
            param="model",
            code="string_above_max_length",
        )
    return model


def _check_together(fields: JsonObject) -> None:
    """Check what fields say of each other, and settle it."""
    if _CHECKED_TOGETHER.isdisjoint(fields):
        return
    if "stream_options" in fields and not fields.get("stream"):
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
            code="invalid_value",
        )
    if fields.get("top_logprobs") and not fields.get("logprobs"):
        raise InvalidRequest(
            "Invalid value for 'top_logprobs': 'logprobs' must be set to true if 'top_logprobs' is used.",
            param="top_logprobs",
            code="invalid_value",
        )
    check_tool_use(fields)
    if fields.get("n", 1) > 1 and fields.get("temperature") == 0:
        # The engine gives one greedy answer only; at this temperature each of several is the same one.
        fields["temperature"] = _NEARLY_GREEDY
