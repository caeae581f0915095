"""Fields that several formats have: a text, a system prompt, turns in OpenAI's form, tools."""

from collections.abc import Iterable, Sequence

from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject, read_functions, read_message, read_tools

Turn = tuple[JsonObject, bool]  # a message, and whether it is trained on


def read_text(row: JsonObject, key: str, what: str) -> str:
    """The string under `key`; `what` it is stands in the error.

    Raises:
        FieldInvalid: it is missing, or no string.
    """
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise FieldInvalid(key, f"It is missing. Give {what}, a string.")
    raise FieldInvalid(key, f"It must be a string: {what}.")


def read_system(row: JsonObject) -> list[JsonObject]:
    """The message of a top-level `system`; none if that is absent, null or empty.

    Raises:
        FieldInvalid: it is no string.
    """
    text = "" if row.get("system") is None else read_text(row, "system", "the system prompt")
    return [{"role": "system", "content": text}] if text else []


def read_prompt(value: object, at: str, what: str = "the prompt") -> list[JsonObject]:
    """What comes before the answer: a string, which the user says, or a list of messages.

    Raises:
        FieldInvalid: with the path of the field.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return [message for message, _ in read_turns(value, at, what)]


def read_turns(value: object, at: str, what: str) -> list[Turn]:
    """A list of messages in OpenAI's form.

    Raises:
        FieldInvalid: with the path of the field.
    """
    if value is None:
        raise FieldInvalid(at, f"It is missing. Give {what}, a string or a list of messages.")
    if not isinstance(value, list) or not value:
        raise FieldInvalid(at, f"It must be {what}: a string, or a list of at least one message.")
    return [read_message(message, f"{at}[{i}]") for i, message in enumerate(value)]


def read_answer(value: object, at: str, what: str) -> JsonObject:
    """A string, which the assistant says, or a list of the one assistant message.

    Raises:
        FieldInvalid: with the path of the field.
    """
    if isinstance(value, str):
        return {"role": "assistant", "content": value}
    turns = read_turns(value, at, what)
    if len(turns) != 1:
        raise FieldInvalid(at, "There must be exactly one message, the assistant's answer.")
    if turns[0][0]["role"] != "assistant":
        raise FieldInvalid(f"{at}[0].role", "The answer must be from the assistant.")
    return turns[0][0]


def read_offered_tools(row: JsonObject, at: str = "") -> tuple[JsonObject, ...] | None:
    """The `tools`, or the deprecated `functions`, of a row in OpenAI's form; None if there are none.

    Raises:
        FieldInvalid: with the path of the field below `at`.
    """
    if row.get("tools"):
        return tuple(read_tools(row["tools"], f"{at}tools"))
    if row.get("functions"):
        return tuple(read_functions(row["functions"], f"{at}functions"))
    return None


def need_an_assistant(messages: Iterable[JsonObject], at: str) -> None:
    """Raises FieldInvalid, in OpenAI's words, if nobody answers."""
    if all(message["role"] != "assistant" for message in messages):
        raise FieldInvalid(at, "At least one message must be from the assistant.")


def renaming(row: JsonObject, spellings: Sequence[str], name: str) -> str:
    """A remedy to add to an error if the field is there under another name, else nothing."""
    found = next((other for other in spellings if other in row), None)
    return "" if found is None else f' Rename "{found}" to "{name}".'
