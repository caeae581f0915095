"""Alpaca's instruction, input and output; the input follows the instruction after a blank line.

`system` and `history` (pairs of what was asked and answered before) are LLaMA-Factory's additions.
"""

from trainer.contract.formats.contents import Conversation
from trainer.contract.formats.fields import read_system, read_text, renaming
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject

_DOLLYS = (("context", "input"), ("response", "output"))


def read_alpaca(row: JsonObject) -> Conversation:
    """Raises FieldInvalid."""
    instruction = read_text(row, "instruction", "what is to be done")
    if row.get("output") is None:
        remedy = "".join(renaming(row, (other,), name) for other, name in _DOLLYS)
        raise FieldInvalid("output", f"It is missing.{remedy or ' Give the answer, a string.'}")
    output = read_text(row, "output", "the answer")
    given = "" if row.get("input") is None else read_text(row, "input", "what the instruction is about")
    if not instruction and not given:
        raise FieldInvalid("instruction", "It is empty, and so is the input. Say what is to be done.")
    asked = f"{instruction}\n\n{given}" if instruction and given else instruction or given
    messages = [*read_system(row), *_read_history(row), *_turn(asked, output)]
    trained = tuple(message["role"] == "assistant" for message in messages)
    return Conversation(tuple(messages), trained, None)


def _read_history(row: JsonObject) -> list[JsonObject]:
    history = row.get("history")
    if history is None:
        return []
    if not isinstance(history, list):
        raise FieldInvalid("history", "It must be a list of pairs: what was asked, what was answered.")
    messages = []
    for i, pair in enumerate(history):
        match pair:
            case [str(asked), str(answered)]:
                messages += _turn(asked, answered)
            case _:
                raise FieldInvalid(f"history[{i}]", "It must be a list of two strings: the question, the answer.")
    return messages


def _turn(asked: str, answered: str) -> list[JsonObject]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
