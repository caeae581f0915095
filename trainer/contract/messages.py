"""One message, and the tools, of a chat example: checked, and in the form the chat template is given.

Training must render what serving renders, so each rule here is what vLLM does to a request
(`vllm/renderers/chat_utils.py`): text parts are joined by newlines, call arguments become objects, tools get all
their keys. The deprecated spellings (`function_call`, `functions`, role `function`) become today's.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from trainer.contract.depth import MAX_DEPTH, is_deeper
from trainer.contract.invalid import FieldInvalid

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_FOREIGN_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
}
_KEYS = frozenset({"role", "content", "name", "weight", "refusal", "tool_calls", "function_call", "tool_call_id"})
_IGNORED_KEYS = frozenset({"audio", "annotations"})  # empty in what OpenAI's client dumps from an answer

JsonObject = dict[str, Any]


def read_message(message: object, at: str) -> tuple[JsonObject, bool]:
    """Check one message; give it for the template, and whether it is trained on.

    Raises:
        FieldInvalid: with the path of the field below `at`.
    """
    if not isinstance(message, dict):
        raise FieldInvalid(at, 'A message must be an object with "role" and "content".')
    present = {key: value for key, value in message.items() if value is not None}
    role = _read_role(present, at)
    _refuse_unknown_keys(present, at)
    if role == "assistant":
        return _read_assistant(present, at), _read_weight(present, at)
    if "weight" in present:
        raise FieldInvalid(f"{at}.weight", "Only assistant messages can have a weight. Remove it.")
    read = {"role": role, "content": _read_content(present, at, role)}
    if role == "function":
        return {**read, "role": "tool", **_read_name(present, at)}, False
    if role == "tool":
        if not isinstance(present.get("tool_call_id"), str):
            raise FieldInvalid(f"{at}.tool_call_id", "A tool message must name the call it answers, as a string.")
        read["tool_call_id"] = present["tool_call_id"]
    return {**read, **_read_name(present, at)}, False


def read_tools(tools: object, at: str) -> list[JsonObject]:
    """Check the tools of an example; give them for the template.

    Raises:
        FieldInvalid: with the path of the field below `at`.
    """
    return [_read_tool(tool, f"{at}[{i}]") for i, tool in enumerate(_read_list(tools, at))]


def read_functions(functions: object, at: str) -> list[JsonObject]:
    """The same for the deprecated `functions`.

    Raises:
        FieldInvalid: with the path of the field below `at`.
    """
    return [_read_function(function, f"{at}[{i}]") for i, function in enumerate(_read_list(functions, at))]


def _read_role(message: JsonObject, at: str) -> str:
    role = message.get("role")
    if role is None:
        number = int(at.rpartition("[")[2].rstrip("]")) + 1
        raise FieldInvalid(f"{at}.role", "Every message needs a role.", missing_role_of_message=number)
    if role in ROLES:
        return str(role)
    hint = f' "{_FOREIGN_ROLES[role]}" is the word for "{role}".' if _is_foreign(role) else ""
    raise FieldInvalid(f"{at}.role", f"Unknown role; it must be one of {', '.join(ROLES)}.{hint}")


def _is_foreign(role: object) -> bool:
    return isinstance(role, str) and role in _FOREIGN_ROLES


def _refuse_unknown_keys(message: JsonObject, at: str) -> None:
    for key, value in message.items():
        if key not in _KEYS and not (key in _IGNORED_KEYS and not value):
            raise FieldInvalid(f"{at}.{shown(key)}", f"Unknown key; a message can have {', '.join(sorted(_KEYS))}.")


def _read_assistant(message: JsonObject, at: str) -> JsonObject:
    calls = _read_calls(message, at)
    if "content" in message:
        content = _read_content(message, at, "assistant")
    elif isinstance(message.get("refusal"), str):
        content = message["refusal"]
    elif calls:
        content = ""
    else:
        raise FieldInvalid(
            f"{at}.content",
            "An assistant message needs content; it may be null only beside tool_calls or function_call.",
        )
    read: JsonObject = {"role": "assistant", "content": content}
    if calls:
        read["tool_calls"] = calls
    return {**read, **_read_name(message, at)}


def _read_weight(message: JsonObject, at: str) -> bool:
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1):
        raise FieldInvalid(f"{at}.weight", "A weight must be 0 (not trained on) or 1.")
    return bool(weight)


def _read_name(message: JsonObject, at: str) -> JsonObject:
    if "name" not in message:
        return {}
    if not isinstance(message["name"], str):
        raise FieldInvalid(f"{at}.name", "A name must be a string.")
    return {"name": message["name"]}


def _read_content(message: JsonObject, at: str, role: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and role == "function":
        return ""
    if isinstance(content, list) and content:
        return "\n".join(_read_part(part, f"{at}.content[{i}]") for i, part in enumerate(content))
    raise FieldInvalid(f"{at}.content", "The content must be a string, or a list of text parts that is not empty.")


def _read_part(part: object, at: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("image_url", "input_audio", "file"):
        raise FieldInvalid(
            f"{at}.type", f"Parts of type {kind} cannot be trained on; this service trains on text only."
        )
    text = part.get(kind) if isinstance(part, dict) and kind in ("text", "refusal") else None
    if not isinstance(text, str):
        raise FieldInvalid(at, 'A part of the content must be {"type": "text", "text": a string}.')
    return text


def _read_calls(message: JsonObject, at: str) -> list[JsonObject]:
    if "tool_calls" in message:
        calls = message["tool_calls"]
        if not isinstance(calls, list):
            raise FieldInvalid(f"{at}.tool_calls", "tool_calls must be a list.")
        return [_read_call(call, f"{at}.tool_calls[{i}]") for i, call in enumerate(calls)]
    if "function_call" in message:
        return [{"type": "function", "function": _read_called(message["function_call"], f"{at}.function_call")}]
    return []


def _read_call(call: object, at: str) -> JsonObject:
    if not isinstance(call, dict) or call.get("type") != "function":
        raise FieldInvalid(at, 'A tool call must be {"id": …, "type": "function", "function": {…}}.')
    if not isinstance(call.get("id"), str):
        raise FieldInvalid(f"{at}.id", "A tool call needs an id, a string that the tool's message repeats.")
    return {"id": call["id"], "type": "function", "function": _read_called(call.get("function"), f"{at}.function")}


def _read_called(function: object, at: str) -> JsonObject:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise FieldInvalid(f"{at}.name", "A call must name its function, as a string.")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        raise FieldInvalid(f"{at}.arguments", "The arguments of a call must be a string that holds JSON.")
    try:
        parsed = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise FieldInvalid(f"{at}.arguments", "The arguments of a call must be a string that holds one JSON object.")
    if is_deeper(parsed):
        raise FieldInvalid(f"{at}.arguments", f"The arguments are nested more than {MAX_DEPTH} levels deep.")
    return {"name": function["name"], "arguments": parsed}


def _read_tool(tool: object, at: str) -> JsonObject:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise FieldInvalid(at, 'A tool must be {"type": "function", "function": {…}}.')
    return _read_function(tool.get("function"), f"{at}.function")


def _read_function(function: object, at: str) -> JsonObject:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise FieldInvalid(f"{at}.name", "A function needs a name, a string.")
    description, parameters, strict = (function.get(key) for key in ("description", "parameters", "strict"))
    if not isinstance(description, str | None):
        raise FieldInvalid(f"{at}.description", "A description must be a string.")
    if not isinstance(parameters, dict | None):
        raise FieldInvalid(f"{at}.parameters", "The parameters must be a JSON Schema, an object.")
    read: JsonObject = {"name": function["name"], "description": description, "parameters": parameters}
    if strict is not None:
        read["strict"] = strict
    return {"type": "function", "function": read}


def _read_list(value: object, at: str) -> Sequence[object]:
    if not isinstance(value, list) or not 1 <= len(value) <= 128:
        raise FieldInvalid(at, "This must be a list of 1 to 128 entries.")
    return value


def shown(key: object) -> str:
    """A key as it may be shown: keys of a data file are names, but a long one may be text."""
    text = str(key)
    return text if text.isidentifier() and len(text) <= 32 else "(unknown)"
