"""ShareGPT conversations: turns of `from` and `value`, in the role spellings of the tools that write them."""

import orjson

from trainer.contract.formats.contents import Conversation
from trainer.contract.formats.fields import Turn, need_an_assistant, read_system
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject, read_functions, read_tools, shown

_CALL = "call"
ROLES = (
    {"system": "system", "developer": "system"}
    | dict.fromkeys(("human", "user"), "user")
    | dict.fromkeys(("gpt", "assistant", "bot", "chatbot", "chatgpt", "model", "ai"), "assistant")
    | dict.fromkeys(("tool", "tool_response", "observation", "function", "function_response"), "tool")
    | dict.fromkeys(("function_call", "tool_call"), _CALL)
)  # as it is spelled → as it is meant
_KEYS = (("from", "value"), ("role", "content"))
_CALL_FORM = 'A call must be JSON of the form {"name": a string, "arguments": an object}, or a list of these.'


def read_sharegpt(row: JsonObject) -> Conversation:
    """Raises FieldInvalid."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise FieldInvalid("conversations", "There must be a list of at least one turn.")
    read = [_read_turn(turn, f"conversations[{i}]") for i, turn in enumerate(turns)]
    need_an_assistant([message for message, _ in read], "conversations")
    system = read_system(row)
    if system and read[0][0]["role"] == "system":
        raise FieldInvalid("system", "There are two system prompts: this one and the first turn. Remove one.")
    messages = (*system, *(message for message, _ in read))
    trained = (False,) * len(system) + tuple(is_trained for _, is_trained in read)
    return Conversation(messages, trained, _read_tools(row))


def _read_turn(turn: object, at: str) -> Turn:
    if not isinstance(turn, dict):
        raise FieldInvalid(at, 'A turn must be an object with "from" and "value".')
    present = {key: value for key, value in turn.items() if value is not None}
    speaker, text = next((keys for keys in _KEYS if keys[0] in present), _KEYS[0])
    role = _read_role(present, speaker, at)
    for key in present:
        if key not in (speaker, text, "weight", "name"):
            raise FieldInvalid(
                f"{at}.{shown(key)}", f"Unknown key; a turn can have {speaker}, {text}, weight and name."
            )
    if not isinstance(present.get(text), str):
        raise FieldInvalid(f"{at}.{text}", "It must be a string.")
    is_trained = _read_weight(present, at, is_answer=role in ("assistant", _CALL))
    if role == _CALL:
        calls = _read_calls(present[text], f"{at}.{text}")
        return {"role": "assistant", "content": "", "tool_calls": calls}, is_trained
    return {"role": role, "content": present[text], **_read_name(present, at)}, is_trained


def _read_role(turn: JsonObject, key: str, at: str) -> str:
    spelled = turn.get(key)
    if isinstance(spelled, str) and spelled in ROLES:
        return ROLES[spelled]
    reason = "It is missing." if spelled is None else "Unknown role."
    raise FieldInvalid(f"{at}.{key}", f"{reason} It must be one of {', '.join(ROLES)}.")


def _read_name(turn: JsonObject, at: str) -> JsonObject:
    if not isinstance(turn.get("name", ""), str):
        raise FieldInvalid(f"{at}.name", "A name must be a string.")
    return {"name": turn["name"]} if "name" in turn else {}


def _read_weight(turn: JsonObject, at: str, *, is_answer: bool) -> bool:
    """Files of this kind give every turn a weight; that of one who asks can only be 0."""
    weight = turn.get("weight", int(is_answer))
    if isinstance(weight, bool) or weight not in (0, 1):
        raise FieldInvalid(f"{at}.weight", "A weight must be 0 (not trained on) or 1.")
    if weight and not is_answer:
        raise FieldInvalid(f"{at}.weight", "Only what the assistant says can be trained on. Make it 0.")
    return bool(weight)


def _read_calls(text: str, at: str) -> list[JsonObject]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise FieldInvalid(at, _CALL_FORM) from None
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise FieldInvalid(at, _CALL_FORM)
    for call in calls:
        well_formed = isinstance(call, dict) and isinstance(call.get("name"), str)
        if not well_formed or not isinstance(call.get("arguments"), dict):
            raise FieldInvalid(at, _CALL_FORM)
    return [{"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}} for call in calls]


def _read_tools(row: JsonObject) -> tuple[JsonObject, ...] | None:
    """A list, or a string that holds one; entries as OpenAI's tools, or the functions alone."""
    tools = row.get("tools")
    if isinstance(tools, str) and tools.strip():
        try:
            tools = orjson.loads(tools)
        except orjson.JSONDecodeError:
            raise FieldInvalid("tools", "It must be a list of tools, or a string that holds one as JSON.") from None
    if not tools or (isinstance(tools, str) and not tools.strip()):
        return None
    is_openai = isinstance(tools, list) and isinstance(tools[0], dict) and "function" in tools[0]
    return tuple((read_tools if is_openai else read_functions)(tools, "tools"))
