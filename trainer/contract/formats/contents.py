"""What one line holds, whatever it was spelled like; messages are in the form the chat template is given."""

from typing import NamedTuple

from trainer.contract.messages import JsonObject


class Conversation(NamedTuple):
    messages: tuple[JsonObject, ...]  # content is always a string
    trained: tuple[bool, ...]  # of each message: an assistant's, and to be trained on
    tools: tuple[JsonObject, ...] | None


class Preference(NamedTuple):
    messages: tuple[JsonObject, ...]  # the prompt
    tools: tuple[JsonObject, ...] | None
    preferred: JsonObject  # an assistant message
    non_preferred: JsonObject  # an assistant message


class Judgement(NamedTuple):
    messages: tuple[JsonObject, ...]  # the prompt
    tools: tuple[JsonObject, ...] | None
    completion: JsonObject  # an assistant message
    is_desirable: bool


class Text(NamedTuple):
    text: str  # not empty


Content = Conversation | Preference | Judgement | Text
