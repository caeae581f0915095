"""Anthropic's messages: a top-level `system`, content blocks, tool_use and tool_result.

Calls become OpenAI's tool calls, and each result a message of its own, as the chat template needs them.
"""

from collections.abc import Iterator

from trainer.contract.formats.contents import Conversation
from trainer.contract.formats.detection import ANTHROPIC_BLOCKS
from trainer.contract.formats.fields import Turn, need_an_assistant
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject, shown

_Block = tuple[str, JsonObject, str]  # its type, itself, where it is
_NOT_A_TEXT = "It must be a string, or a list of text blocks that is not empty."


def read_anthropic(row: JsonObject) -> Conversation:
    """Raises FieldInvalid."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise FieldInvalid("messages", "There must be a list of at least one message.")
    read = [turn for i, message in enumerate(messages) for turn in _read_message(message, f"messages[{i}]")]
    need_an_assistant([message for message, _ in read], "messages")
    system = "" if row.get("system") is None else _read_text(row["system"], "system")
    turns = [({"role": "system", "content": system}, False), *read] if system else read
    return Conversation(tuple(m for m, _ in turns), tuple(t for _, t in turns), _read_tools(row.get("tools")))


def _read_message(message: object, at: str) -> Iterator[Turn]:
    if not isinstance(message, dict):
        raise FieldInvalid(at, 'A message must be an object with "role" and "content".')
    role = message.get("role")
    if role not in ("user", "assistant"):
        hint = ' A system prompt is given beside "messages", as "system".' if role == "system" else ""
        raise FieldInvalid(f"{at}.role", f"The role must be user or assistant in Anthropic messages.{hint}")
    for key, value in message.items():
        if key not in ("role", "content") and value is not None:
            raise FieldInvalid(f"{at}.{shown(key)}", "Unknown key; an Anthropic message has role and content.")
    content = message.get("content")
    if isinstance(content, str):
        yield {"role": role, "content": content}, role == "assistant"
        return
    if not isinstance(content, list) or not content:
        raise FieldInvalid(f"{at}.content", "The content must be a string, or a list of blocks that is not empty.")
    blocks = [_read_block(block, f"{at}.content[{i}]", role) for i, block in enumerate(content)]
    yield from _read_assistant(blocks) if role == "assistant" else _read_user(blocks)


def _read_assistant(blocks: list[_Block]) -> Iterator[Turn]:
    texts = [_read_block_text(block, at) for kind, block, at in blocks if kind == "text"]
    calls = [_read_call(block, at) for kind, block, at in blocks if kind == "tool_use"]
    said: JsonObject = {"role": "assistant", "content": "\n".join(texts)}
    yield ({**said, "tool_calls": calls} if calls else said), True


def _read_user(blocks: list[_Block]) -> Iterator[Turn]:
    """Results come before what the user says with them, as Anthropic has it."""
    texts = []
    for kind, block, at in blocks:
        if kind == "text":
            texts.append(_read_block_text(block, at))
            continue
        if texts:
            raise FieldInvalid(at, "The tool results must come before the text of the same message.")
        yield _read_result(block, at), False
    if texts:
        yield {"role": "user", "content": "\n".join(texts)}, False


def _read_block(block: object, at: str, role: str) -> _Block:
    kind = block.get("type") if isinstance(block, dict) else None
    known = {"user": ("text", "tool_result"), "assistant": ("text", "tool_use")}[role]
    if isinstance(block, dict) and isinstance(kind, str) and kind in known:
        return kind, block, at
    if isinstance(kind, str) and kind in ("tool_use", "tool_result"):
        other = "the assistant" if kind == "tool_use" else "the user"
        raise FieldInvalid(f"{at}.type", f"A {kind} block can only be in a message of {other}.")
    if isinstance(kind, str) and kind in ANTHROPIC_BLOCKS:
        reason = f"Blocks of type {kind} cannot be trained on; this service trains on text only."
        raise FieldInvalid(f"{at}.type", reason)
    raise FieldInvalid(f"{at}.type", f"Unknown type of block; the {role} can have {' and '.join(known)}.")


def _read_block_text(block: JsonObject, at: str) -> str:
    if not isinstance(block.get("text"), str):
        raise FieldInvalid(f"{at}.text", "A text block must have a text, a string.")
    return str(block["text"])


def _read_call(block: JsonObject, at: str) -> JsonObject:
    for key in ("id", "name"):
        if not isinstance(block.get(key), str):
            raise FieldInvalid(f"{at}.{key}", "A tool_use block must have id and name, both strings.")
    if not isinstance(block.get("input"), dict):
        raise FieldInvalid(f"{at}.input", "The input of a call must be an object.")
    function = {"name": block["name"], "arguments": block["input"]}
    return {"id": block["id"], "type": "function", "function": function}


def _read_result(block: JsonObject, at: str) -> JsonObject:
    if not isinstance(block.get("tool_use_id"), str):
        raise FieldInvalid(f"{at}.tool_use_id", "A tool_result must name the call it answers, as a string.")
    content = "" if block.get("content") is None else _read_text(block["content"], f"{at}.content")
    return {"role": "tool", "content": content, "tool_call_id": block["tool_use_id"]}


def _read_text(value: object, at: str) -> str:
    """A string, or text blocks joined by newlines, as everywhere."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise FieldInvalid(at, _NOT_A_TEXT)
    for i, block in enumerate(value):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise FieldInvalid(f"{at}[{i}]", _NOT_A_TEXT)
    return "\n".join(_read_block_text(block, f"{at}[{i}]") for i, block in enumerate(value))


def _read_tools(tools: object) -> tuple[JsonObject, ...] | None:
    if not tools:
        return None
    if not isinstance(tools, list) or len(tools) > 128:
        raise FieldInvalid("tools", "This must be a list of 1 to 128 entries.")
    return tuple(_read_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))


def _read_tool(tool: object, at: str) -> JsonObject:
    if not isinstance(tool, dict) or tool.get("type") not in (None, "custom"):
        raise FieldInvalid(at, 'A tool must be {"name": …, "description": …, "input_schema": {…}}.')
    name, description, schema = (tool.get(key) for key in ("name", "description", "input_schema"))
    if not isinstance(name, str):
        raise FieldInvalid(f"{at}.name", "A tool needs a name, a string.")
    if not isinstance(description, str | None):
        raise FieldInvalid(f"{at}.description", "A description must be a string.")
    if not isinstance(schema, dict):
        raise FieldInvalid(f"{at}.input_schema", "The input_schema must be a JSON Schema, an object.")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
