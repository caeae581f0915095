"""Items → the messages that the engine's chat template renders (pure).

A model's text and the calls beside it are one message, as one answer had them; text is joined as in `server.chat`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from server.chat.messages import check_arguments
from server.errors import InvalidRequest
from server.relay.fields import JsonObject


def to_messages(
    instructions: str | None, before: Sequence[JsonObject], items: Sequence[JsonObject]
) -> list[JsonObject]:
    """Give the messages of a conversation: `before` is what came before, `items` are the request's own.

    Raises:
        InvalidRequest: an output of a function that nobody called; a call whose arguments no template can render.
    """
    messages: list[JsonObject] = [] if instructions is None else [{"role": "system", "content": instructions}]
    called: set[str] = set()
    for item, param in _named(before, items):
        if item["type"] == "message":
            messages.append({"role": item["role"], "content": _text(item["content"])})
        elif item["type"] == "function_call":
            check_arguments(item["arguments"], param)
            called.add(item["call_id"])
            _calling(messages).append(_call(item))
        elif item["call_id"] in called:
            output = item["output"]
            content = output if isinstance(output, str) else _text(output)
            messages.append({"role": "tool", "content": content, "tool_call_id": item["call_id"]})
        else:
            raise InvalidRequest(
                "No tool call found for a function call output: its 'call_id' is of no 'function_call' before it.",
                param=param,
                code="invalid_value",
            )
    return messages


def _named(before: Sequence[JsonObject], items: Sequence[JsonObject]) -> Iterable[tuple[JsonObject, str]]:
    """Give each item with the field of the request by which it came."""
    yield from ((item, "previous_response_id") for item in before)
    yield from ((item, "input") for item in items)


def _calling(messages: list[JsonObject]) -> list[JsonObject]:
    """Give the calls of the model's last message, which is begun if the model does not have the word."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    calls: list[JsonObject] = messages[-1].setdefault("tool_calls", [])
    return calls


def _call(item: JsonObject) -> JsonObject:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _text(parts: Sequence[Any]) -> str:
    return "\n".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in parts)
