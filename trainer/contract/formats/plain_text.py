"""Plain text, for continued pre-training."""

from trainer.contract.formats.contents import Text
from trainer.contract.formats.fields import read_text
from trainer.contract.invalid import FieldInvalid
from trainer.contract.messages import JsonObject


def read_plain_text(row: JsonObject) -> Text:
    """Raises FieldInvalid."""
    text = read_text(row, "text", "what is to be learnt")
    if not text:
        raise FieldInvalid("text", "It is empty, so there is nothing to learn. Remove the line.")
    return Text(text)
