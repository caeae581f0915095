"""Prompt/completion pairs: strings as OpenAI's, or lists of messages as TRL's; `system` and `tools` are honoured."""

from trainer.contract.formats.contents import Conversation
from trainer.contract.formats.fields import (
    Turn,
    need_an_assistant,
    read_offered_tools,
    read_prompt,
    read_system,
    read_turns,
    renaming,
)
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject

_OTHER_ANSWERS = ("response", "answer", "output", "target")
_OTHER_PROMPTS = ("question", "query", "input", "source")


def read_prompt_completion(row: JsonObject) -> Conversation:
    """Only the completion is trained on. Raises FieldInvalid."""
    for key, others in (("prompt", _OTHER_PROMPTS), ("completion", _OTHER_ANSWERS)):
        if row.get(key) is None:
            remedy = renaming(row, others, key) or " Give a string or a list of messages."
            raise FieldInvalid(key, f"It is missing.{remedy}")
    before = read_system(row) + read_prompt(row["prompt"], "prompt")
    completion = _read_completion(row["completion"])
    messages = (*before, *(message for message, _ in completion))
    trained = (False,) * len(before) + tuple(is_trained for _, is_trained in completion)
    return Conversation(messages, trained, read_offered_tools(row))


def _read_completion(value: object) -> list[Turn]:
    if isinstance(value, str):
        return [({"role": "assistant", "content": value}, True)]
    turns = read_turns(value, "completion", "the completion")
    need_an_assistant([message for message, _ in turns], "completion")
    return turns
