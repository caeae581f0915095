"""KTO: a prompt, one completion, and whether it is desirable."""

from trainer.contract.formats.contents import Judgement
from trainer.contract.formats.fields import read_answer, read_offered_tools, read_prompt, read_system
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject


def read_kto(row: JsonObject) -> Judgement:
    """Raises FieldInvalid."""
    messages = (*read_system(row), *read_prompt(row.get("prompt"), "prompt"))
    completion = read_answer(row.get("completion"), "completion", "the completion")
    label = row.get("label")
    if label is None:
        raise FieldInvalid("label", "It is missing. Give true for a good completion, false for a bad one.")
    if not isinstance(label, bool):
        raise FieldInvalid("label", "It must be true (a good completion) or false.")
    return Judgement(messages, read_offered_tools(row), completion, label)
