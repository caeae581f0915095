"""OpenAI's chat messages, with tools, the deprecated functions, weights and text parts."""

from trainer.contract.formats.contents import Conversation
from trainer.contract.formats.fields import need_an_assistant, read_offered_tools
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject, read_message


def read_chat(row: JsonObject) -> Conversation:
    """Raises FieldInvalid."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise FieldInvalid("messages", "There must be a list of at least one message.")
    read = [read_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    need_an_assistant([message for message, _ in read], "messages")
    if not isinstance(row.get("parallel_tool_calls"), bool | None):
        raise FieldInvalid("parallel_tool_calls", "This must be true or false.")
    return Conversation(tuple(m for m, _ in read), tuple(t for _, t in read), read_offered_tools(row))
