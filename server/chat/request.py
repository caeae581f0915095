"""The body of a chat request → a checked request, or an error (pure). OpenAI: CreateChatCompletionRequest.

Every field of OpenAI's is decided here, one by one: passed on, accepted without effect, or refused with a reason.
Everything else is refused by name, the engine's private switches above all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.chat.fields import (
    Check,
    JsonObject,
    an_array,
    an_object,
    boolean,
    decimal,
    integer,
    known_keys,
    missing,
    one_of,
    only,
    present,
    refused,
    string,
    unrecognized,
    wrong_type,
)
from server.chat.messages import read_messages
from server.chat.tools import check_tool_use, read_response_format, read_tool_choice, read_tools
from server.errors import InvalidRequest
from server.request_validation import NOT_JSON

MAX_CHOICES = 128  # OpenAI's bound of `n`
MAX_MODEL_NAME = 512  # characters
_MAX_BIASES = 1024
_NEARLY_GREEDY = 0.01
_MAX_TOKENS = integer(1, 2**31 - 1)
_NO_MODEL = (
    "you must provide a model parameter. If it is a fine-tuning job's 'fine_tuned_model': that is null until the job "
    "has succeeded; wait for the job to finish, then retrieve it again."
)
_NOT_STORED = "Chat completions are not stored here. Leave out 'store', or send false."


# Asked of every stream: what an answer came to is known in its last chunk, and of one that is cut, in each before.
_COUNTED = {"include_usage": True, "continuous_usage_stats": True}


@dataclass(frozen=True)
class ChatRequest:
    """A request that may be put to an engine, once the engine's own name of the model is known."""

    model: str  # as asked
    stream: bool
    wants_usage: bool  # in a stream
    fields: Mapping[str, Any]  # for the engine; without `model`
    raw: bytes = field(repr=False)  # as the client wrote it
    changed: Mapping[str, Any] | None  # fields that differ from `raw`; None: more does than can be put behind it

    @property
    def uses_tools(self) -> bool:
        return "tools" in self.fields

    def body_for(self, model: str, cache_salt: str) -> bytes:
        """Give the engine's request: its own name of the model, and a salt that keeps projects' caches apart.

        The client's own bytes go on, with what differs behind them: the engine's parser is Python's, for which the
        last of several equal keys is the one that counts. Write all requests anew for an engine with another parser.
        """
        added: JsonObject = {"cache_salt": cache_salt}
        if self.stream:
            added["stream_options"] = _COUNTED
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
        if (check := _PASSED_ON.get(name)) is not None:
            if (value := check(given, name)) is not None:
                fields[name] = value
        elif (check := _WITHOUT_EFFECT.get(name)) is not None:
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


def _stop(value: object, at: str) -> list[str]:
    words = [value] if isinstance(value, str) else an_array(value, at, "strings", 4)
    for word in words:
        if not string(word, at):
            raise InvalidRequest(f"Invalid '{at}': empty string.", param=at, code="empty_string")
    return words


def _top_p(value: object, at: str) -> float:
    """OpenAI takes 0 for the likeliest token alone; the engine wants more than 0, and means the same by very little."""
    return float(decimal(0, 1)(value, at)) or 1e-9


def _logit_bias(value: object, at: str) -> JsonObject:
    biases = an_object(value, at)
    if len(biases) > _MAX_BIASES:
        raise InvalidRequest(
            f"Invalid '{at}': object too large. Expected at most {_MAX_BIASES} tokens, but got {len(biases)} instead.",
            param=at,
            code="object_above_max_properties",
        )
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit()):
            raise InvalidRequest(
                f"Invalid key in '{at}': expected token ids, whole numbers.", param=at, code="invalid_value"
            )
        decimal(-100, 100)(bias, at)
    return biases


def _stream_options(value: object, at: str) -> JsonObject:
    options = present(an_object(value, at))
    known_keys(options, at, frozenset({"include_usage", "include_obfuscation"}))
    for name, flag in options.items():
        boolean(flag, f"{at}.{name}")
    return {"include_usage": bool(options.get("include_usage"))}


def _metadata(value: object, at: str) -> None:
    for name, entry in an_object(value, at).items():
        string(entry, f"{at}.{name[:64]}")


def _modalities(value: object, at: str) -> None:
    if an_array(value, at, "strings", 2) != ["text"]:
        raise InvalidRequest(
            f"Unsupported value for '{at}': the models of this server answer in text. Send [\"text\"] or nothing.",
            param=at,
            code="unsupported_value",
        )


def _store(value: object, at: str) -> None:
    if boolean(value, at):
        raise InvalidRequest(f"Unsupported value for '{at}'. {_NOT_STORED}", param=at, code="unsupported_value")


_PASSED_ON: dict[str, Check] = {
    "frequency_penalty": decimal(-2, 2),
    "logit_bias": _logit_bias,
    "logprobs": boolean,
    "max_completion_tokens": _MAX_TOKENS,
    "max_tokens": _MAX_TOKENS,
    "n": integer(1, MAX_CHOICES),
    "parallel_tool_calls": boolean,
    "presence_penalty": decimal(-2, 2),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "response_format": read_response_format,
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "stream": boolean,
    "stream_options": _stream_options,
    "temperature": decimal(0, 2),
    "tool_choice": read_tool_choice,
    "tools": read_tools,
    "top_logprobs": integer(0, 20),
    "top_p": _top_p,
}

# OpenAI's, and without a meaning here, or harmless hints; or what only a hosted service has.
_WITHOUT_EFFECT: dict[str, Check] = {
    "audio": refused("The models of this server answer in text. Leave it out."),
    "function_call": refused("It is deprecated. Use 'tool_choice' instead."),
    "functions": refused("It is deprecated. Use 'tools' instead."),
    "metadata": _metadata,
    "modalities": _modalities,
    "moderation": refused("There is no moderation model here. Leave it out."),
    "prediction": an_object,
    "prompt_cache_key": string,
    "prompt_cache_options": an_object,
    "prompt_cache_retention": string,
    "safety_identifier": string,
    "service_tier": only(("auto", "default"), "there is one tier here."),
    "store": _store,
    "user": string,
    "verbosity": only(("medium",), "the models of this server have one verbosity."),
    "web_search_options": refused("There is no web search here. Leave it out."),
}
KNOWN = frozenset({"model", "messages", *_PASSED_ON, *_WITHOUT_EFFECT})
