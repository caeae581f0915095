"""The messages of a chat request → the form the engine is given (pure).

Training must render what serving renders, so text becomes one string by the rules of `trainer.contract.messages`:
parts are joined by newlines, a refusal stands for content that is missing.
"""

from typing import Any

import orjson

from server.errors import InvalidRequest
from server.relay.fields import (
    JsonObject,
    an_array,
    an_object,
    known_keys,
    missing,
    one_of,
    present,
    required,
    string,
    wrong_type,
)

_MAX_MESSAGES = 10_000
_MAX_CALLS = 128
_KEYS = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset(
        {"role", "content", "name", "refusal", "tool_calls", "function_call", "audio", "annotations"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id"}),
    "function": frozenset({"role", "content", "name"}),
}
_ROLE = one_of(*_KEYS)
_PLAIN_ROLES = ("system", "developer", "user", "assistant")
_PART_KEYS = frozenset({"type", "text", "refusal", "prompt_cache_breakpoint"})
_USE_TOOLS = "Use 'tools', 'tool_calls' and messages with role 'tool' instead."


def read_messages(value: object) -> list[JsonObject]:
    """Check every message; give them as the engine reads them.

    Raises:
        InvalidRequest: param is the path of the field, such as `messages[2].role`.
    """
    messages = an_array(value, "messages", "objects", _MAX_MESSAGES)
    if all(map(_is_plain, messages)):
        return messages
    return [
        message if _is_plain(message) else _read_message(message, f"messages[{i}]")
        for i, message in enumerate(messages)
    ]


def _is_plain(message: Any) -> bool:
    """Whether it is a role and a text, as nearly every message is, with nothing to be read otherwise."""
    return (
        isinstance(message, dict)
        and len(message) == 2
        and isinstance(message.get("content"), str)
        and message.get("role") in _PLAIN_ROLES
    )


def _read_message(value: object, at: str) -> JsonObject:
    message = present(an_object(value, at))
    if "role" not in message:
        raise missing(f"{at}.role")
    role = _ROLE(message["role"], f"{at}.role")
    known_keys(message, at, _KEYS[role])
    if role == "function":
        raise InvalidRequest(
            f"Invalid value for '{at}.role': 'function' is deprecated. {_USE_TOOLS}",
            param=f"{at}.role",
            code="unsupported_value",
        )
    read = {"role": role, **_read_assistant(message, at)} if role == "assistant" else _read_other(message, at, role)
    if "name" in message:
        read["name"] = string(message["name"], f"{at}.name")
    return read


def _read_other(message: JsonObject, at: str, role: str) -> JsonObject:
    required(message, at, "content")
    read = {"role": role, "content": _read_content(message["content"], f"{at}.content")}
    if role == "tool":
        required(message, at, "tool_call_id")
        read["tool_call_id"] = string(message["tool_call_id"], f"{at}.tool_call_id")
    return read


def _read_assistant(message: JsonObject, at: str) -> JsonObject:
    if message.get("function_call") or message.get("audio"):
        key = "function_call" if message.get("function_call") else "audio"
        reason = _USE_TOOLS if key == "function_call" else "There is no audio here."
        raise InvalidRequest(
            f"Unsupported parameter: '{at}.{key}'. {reason}", param=f"{at}.{key}", code="unsupported_parameter"
        )
    read: JsonObject = {}
    if message.get("tool_calls"):
        calls = an_array(message["tool_calls"], f"{at}.tool_calls", "objects", _MAX_CALLS)
        read["tool_calls"] = [_read_call(call, f"{at}.tool_calls[{i}]") for i, call in enumerate(calls)]
    if "content" in message:
        read["content"] = _read_content(message["content"], f"{at}.content")
    elif "refusal" in message:
        read["content"] = string(message["refusal"], f"{at}.refusal")
    elif read:
        read["content"] = ""
    else:
        raise InvalidRequest(
            f"Invalid value for '{at}.content': expected a string; it may be null only beside 'tool_calls'.",
            param=f"{at}.content",
            code="invalid_value",
        )
    return read


def _read_content(value: object, at: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong_type(at, "a string or an array of text parts", value)
    parts = an_array(value, at, "objects", _MAX_MESSAGES)
    return "\n".join(_read_part(part, f"{at}[{i}]") for i, part in enumerate(parts))


def _read_part(value: object, at: str) -> str:
    part = present(an_object(value, at))
    required(part, at, "type")
    kind = string(part["type"], f"{at}.type")
    if kind in ("image_url", "input_audio", "file"):
        raise InvalidRequest(
            f"Invalid content type at '{at}': the models of this server read text only, not '{kind}' parts.",
            param=f"{at}.type",
            code="unsupported_content",
        )
    if kind not in ("text", "refusal"):
        raise InvalidRequest(
            f"Invalid value for '{at}.type'. Supported values are: 'text'.", param=f"{at}.type", code="invalid_value"
        )
    known_keys(part, at, _PART_KEYS)
    required(part, at, kind)
    return string(part[kind], f"{at}.{kind}")


def _read_call(value: object, at: str) -> JsonObject:
    call = present(an_object(value, at))
    required(call, at, "id", "type", "function")
    known_keys(call, at, frozenset({"id", "type", "function"}))
    one_of("function")(call["type"], f"{at}.type")
    function = present(an_object(call["function"], f"{at}.function"))
    required(function, f"{at}.function", "name", "arguments")
    known_keys(function, f"{at}.function", frozenset({"name", "arguments"}))
    name = string(function["name"], f"{at}.function.name")
    arguments = string(function["arguments"], f"{at}.function.arguments") or "{}"
    _check_arguments(arguments, f"{at}.function.arguments")
    return {
        "id": string(call["id"], f"{at}.id"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _check_arguments(arguments: str, at: str) -> None:
    """The engine gives the chat template an object, and has none to give of anything else."""
    try:
        is_object = isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        is_object = False
    if not is_object:
        raise InvalidRequest(
            f"Invalid value for '{at}': expected a string that holds a JSON object.", param=at, code="invalid_value"
        )
