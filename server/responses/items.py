"""The input of a response → its items in the form in which they are kept and shown again (pure). OpenAI: InputParam.

An item without an id is given one later, when the response has its own.
"""

from collections.abc import Callable
from typing import Any

from server.chat.messages import MAX_MESSAGES, check_arguments
from server.errors import InvalidRequest
from server.relay.fields import (
    JsonObject,
    an_array,
    an_object,
    known_keys,
    one_of,
    present,
    required,
    string,
    wrong_type,
)

REFERENCE = "item_reference"
_MAX_ID = 128  # characters; a longer one is nobody's
_ROLE = one_of("user", "assistant", "system", "developer")
_STATUS = one_of("in_progress", "completed", "incomplete")
_MESSAGE_KEYS = frozenset({"type", "role", "content", "id", "status", "phase"})
_CALL_KEYS = frozenset({"type", "id", "call_id", "name", "arguments", "status", "namespace", "caller", "async"})
_OUTPUT_KEYS = frozenset({"type", "id", "call_id", "output", "status", "name", "namespace", "caller"})
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}  # the key of each
_TEXT_KEYS = frozenset({"type", "text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint"})
_NO_FILES = ("input_image", "input_file", "input_audio")


def read_input(value: object) -> list[JsonObject]:
    """Check the input.

    Raises:
        InvalidRequest: param is the path of the field, such as `input[2].role`.
    """
    if isinstance(value, str):
        return [_message("user", [{"type": "input_text", "text": value}])]
    if not isinstance(value, list):
        raise wrong_type("input", "a string or an array of items", value)
    items = an_array(value, "input", "items", MAX_MESSAGES)
    read = (_read_item(item, f"input[{i}]") for i, item in enumerate(items))
    return [item for item in read if item is not None]


def _read_item(value: object, at: str) -> JsonObject | None:
    """None: it is one that the model does not read."""
    item = present(an_object(value, at))
    kind = string(item["type"], f"{at}.type") if "type" in item else _kind_of(item)
    reader = _READERS.get(kind)
    if reader is None:
        raise InvalidRequest(
            f"Unsupported value for '{at}.type'. Supported values are: 'message', 'function_call', "
            "'function_call_output', 'reasoning' and 'item_reference'; there are no hosted tools here.",
            param=f"{at}.type",
            code="unsupported_value",
        )
    return reader(item, at)


def _kind_of(item: JsonObject) -> str:
    return "message" if "role" in item or "id" not in item else REFERENCE


def _read_message(item: JsonObject, at: str) -> JsonObject:
    required(item, at, "role", "content")
    known_keys(item, at, _MESSAGE_KEYS)
    role = _ROLE(item["role"], f"{at}.role")
    parts = _read_parts(item["content"], f"{at}.content", "output_text" if role == "assistant" else "input_text")
    return _kept(item, at, _message(role, parts))


def _message(role: str, parts: list[JsonObject]) -> JsonObject:
    return {"type": "message", "role": role, "status": "completed", "content": parts}


def _read_parts(value: object, at: str, kind: str) -> list[JsonObject]:
    if isinstance(value, str):
        return [_text_part(kind, value)]
    if not isinstance(value, list):
        raise wrong_type(at, "a string or an array of text parts", value)
    return [_read_part(part, f"{at}[{i}]", kind) for i, part in enumerate(an_array(value, at, "objects", MAX_MESSAGES))]


def _read_part(value: object, at: str, kind: str) -> JsonObject:
    part = present(an_object(value, at))
    required(part, at, "type")
    given = string(part["type"], f"{at}.type")
    if given in _NO_FILES:
        raise InvalidRequest(
            f"Invalid content type at '{at}': the models of this server read text only, not '{given}' parts.",
            param=f"{at}.type",
            code="unsupported_content",
        )
    one_of(*_TEXTS)(given, f"{at}.type")
    known_keys(part, at, _TEXT_KEYS)
    key = _TEXTS[given]
    required(part, at, key)
    text = string(part[key], f"{at}.{key}")
    if given == "refusal" and kind == "output_text":
        return {"type": "refusal", "refusal": text}
    return _text_part(kind, text)


def _text_part(kind: str, text: str) -> JsonObject:
    if kind == "output_text":
        return {"type": kind, "text": text, "annotations": [], "logprobs": []}
    return {"type": kind, "text": text}


def _read_call(item: JsonObject, at: str) -> JsonObject:
    required(item, at, "call_id", "name", "arguments")
    known_keys(item, at, _CALL_KEYS)
    arguments = string(item["arguments"], f"{at}.arguments") or "{}"
    check_arguments(arguments, f"{at}.arguments")
    call: JsonObject = {"type": "function_call", "status": "completed", "arguments": arguments}
    call |= {name: string(item[name], f"{at}.{name}") for name in ("call_id", "name")}
    return _kept(item, at, call)


def _read_output(item: JsonObject, at: str) -> JsonObject:
    required(item, at, "call_id", "output")
    known_keys(item, at, _OUTPUT_KEYS)
    output: Any = item["output"]
    if not isinstance(output, str):
        output = _read_parts(output, f"{at}.output", "input_text")
    call_id = string(item["call_id"], f"{at}.call_id")
    return _kept(
        item, at, {"type": "function_call_output", "status": "completed", "call_id": call_id, "output": output}
    )


def _read_reference(item: JsonObject, at: str) -> JsonObject:
    required(item, at, "id")
    known_keys(item, at, frozenset({"type", "id"}))
    return {"type": REFERENCE, "id": _read_id(item["id"], f"{at}.id")}


def _drop(_item: JsonObject, _at: str) -> None:
    """What another model thought is nothing to this one."""


def _kept(item: JsonObject, at: str, read: JsonObject) -> JsonObject:
    """With what the client says of the item itself."""
    if "status" in item:
        read["status"] = _STATUS(item["status"], f"{at}.status")
    if "id" in item:
        read["id"] = _read_id(item["id"], f"{at}.id")
    return read


def _read_id(value: object, at: str) -> str:
    if not 0 < len(string(value, at)) <= _MAX_ID:
        raise InvalidRequest(
            f"Invalid '{at}': expected a string of 1 to {_MAX_ID} characters.", param=at, code="invalid_value"
        )
    return str(value)


_READERS: dict[str, Callable[[JsonObject, str], JsonObject | None]] = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
    "reasoning": _drop,
    REFERENCE: _read_reference,
}
