"""A stored completion → lines of a training file in OpenAI's chat format (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson

from trainer.contract.formats.chat import read_chat
from trainer.contract.invalid import FieldInvalid
from trainer.contract.lines import MAX_LINE_BYTES

JsonObject = dict[str, Any]
_TAKEN = ("role", "content", "name", "refusal", "tool_calls", "tool_call_id")


class LeftOut(StrEnum):
    """Why a choice is not in the file."""

    FINISH_REASON = "finish_reason"  # its end is not one that was asked for
    NO_ANSWER = "no_answer"  # neither a text nor a call
    NOT_TRAINABLE = "not_trainable"  # no job would take the line
    DUPLICATE = "duplicate"


def examples_of(
    shown: JsonObject, messages: Sequence[JsonObject], *, finish_reasons: Sequence[str], all_choices: bool
) -> Iterator[bytes | LeftOut]:
    """Give a line, without its newline, for each choice, or why there is none.

    Only the stored answer is trained on: what assistants said before it was given, by whomever, has the weight 0.
    """
    before = [_message(message, is_context=True) for message in messages]
    offered = {name: shown[name] for name in ("tools", "parallel_tool_calls") if shown.get(name) is not None}
    for choice in shown["choices"] if all_choices else shown["choices"][:1]:
        answer = _message(choice["message"], is_context=False)
        if choice["finish_reason"] not in finish_reasons:
            yield LeftOut.FINISH_REASON
        elif not answer.get("content") and not answer.get("tool_calls"):
            yield LeftOut.NO_ANSWER
        else:
            yield _line({"messages": [*before, answer], **offered})


def _line(row: JsonObject) -> bytes | LeftOut:
    try:
        read_chat(row)
    except FieldInvalid:
        return LeftOut.NOT_TRAINABLE
    line = orjson.dumps(row)
    return line if len(line) <= MAX_LINE_BYTES else LeftOut.NOT_TRAINABLE


def _message(message: Mapping[str, Any], *, is_context: bool) -> JsonObject:
    taken = {name: message[name] for name in _TAKEN if message.get(name) is not None}
    if isinstance(taken.get("content"), list):  # joined as the model read it
        taken["content"] = "\n".join(str(part.get("text") or part.get("refusal") or "") for part in taken["content"])
    if taken.get("tool_calls"):
        taken["tool_calls"] = [_call(call) for call in taken["tool_calls"]]
    if is_context and taken["role"] == "assistant":
        taken["weight"] = 0
    return taken


def _call(call: JsonObject) -> JsonObject:
    function = call["function"]
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": function["arguments"] or "{}"},
    }
