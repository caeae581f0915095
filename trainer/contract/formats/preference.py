"""Preference pairs: a prompt, the answer that is preferred and the one that is not, in all their spellings.

The prompt is OpenAI's `input` (an object with `messages`), or `prompt`, `question` or `instruction` (a string or
messages), or the beginning that both answers have in common when they are whole conversations.
"""

from typing import NamedTuple

from trainer.contract.formats.contents import Preference
from trainer.contract.formats.detection import PREFERENCE_SIDES
from trainer.contract.formats.fields import read_offered_tools, read_prompt, read_system, read_turns
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject

_PROMPTS = ("input", "prompt", "question", "instruction")


class _Side(NamedTuple):
    before: list[JsonObject]  # of a whole conversation
    answer: JsonObject


def read_preference(row: JsonObject) -> Preference:
    """Raises FieldInvalid."""
    good, bad = _spelling(row)
    preferred, non_preferred = _read_side(row, good), _read_side(row, bad)
    if preferred.before != non_preferred.before:
        raise FieldInvalid(bad, f'But for the last message it must be the same conversation as "{good}".')
    messages = _read_messages(row, preferred.before)
    given = row.get("input")
    inner = read_offered_tools(given, "input.") if isinstance(given, dict) else None
    tools = inner or read_offered_tools(row)
    return Preference(tuple(messages), tools, preferred.answer, non_preferred.answer)


def _spelling(row: JsonObject) -> tuple[str, str]:
    """The names of the two answers: of a pair that is whole if there is one."""
    return max(PREFERENCE_SIDES, key=lambda names: sum(name in row for name in names))


def _read_side(row: JsonObject, key: str) -> _Side:
    value = row.get(key)
    if isinstance(value, str):
        return _Side([], {"role": "assistant", "content": value})
    if isinstance(value, dict):
        raise FieldInvalid(key, "It must be a string or a list of messages. Put the message into a list.")
    *before, answer = [message for message, _ in read_turns(value, key, "an answer")]
    if answer["role"] != "assistant":
        raise FieldInvalid(f"{key}[{len(before)}].role", "The last message must be the assistant's answer.")
    return _Side(before, answer)


def _read_messages(row: JsonObject, before: list[JsonObject]) -> list[JsonObject]:
    key = next((key for key in _PROMPTS if row.get(key) is not None), None)
    if key is None:
        if not before:
            raise FieldInvalid("prompt", "It is missing. Give the prompt, a string or a list of messages.")
        return read_system(row) + before
    value = row[key]
    if before and isinstance(value, str):
        if all(message["content"] != value for message in before):
            raise FieldInvalid(key, "It is none of the messages before the answers. Remove it, or correct it.")
        return read_system(row) + before
    prompt = _read_prompt(value, key)
    if before and before != prompt:
        raise FieldInvalid(key, "It differs from the messages before the answers. Leave the answers alone there.")
    return read_system(row) + prompt


def _read_prompt(value: object, key: str) -> list[JsonObject]:
    if not isinstance(value, dict):
        return read_prompt(value, key)
    if not isinstance(value.get("parallel_tool_calls"), bool | None):
        raise FieldInvalid(f"{key}.parallel_tool_calls", "This must be true or false.")
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise FieldInvalid(f"{key}.messages", "There must be a list of at least one message.")
    return read_prompt(messages, f"{key}.messages")
