"""One line of a file → what it holds, held to the format that the file began with."""

from collections.abc import Callable, Mapping

from trainer.contract.formats.alpaca import read_alpaca
from trainer.contract.formats.anthropic import read_anthropic
from trainer.contract.formats.chat import read_chat
from trainer.contract.formats.contents import Content
from trainer.contract.formats.detection import PREFERENCE_SIDES, detect_format
from trainer.contract.formats.kto import read_kto
from trainer.contract.formats.names import FileFormat, formats_of, methods_for
from trainer.contract.formats.plain_text import read_plain_text
from trainer.contract.formats.preference import read_preference
from trainer.contract.formats.prompt_completion import read_prompt_completion
from trainer.contract.formats.sharegpt import read_sharegpt
from trainer.contract.invalid import ExampleInvalid, FieldInvalid, FileInvalid
from trainer.contract.messages import JsonObject
from trainer.contract.spec import MethodName

READERS: Mapping[FileFormat, Callable[[JsonObject], Content]] = {
    FileFormat.CHAT: read_chat,
    FileFormat.PROMPT_COMPLETION: read_prompt_completion,
    FileFormat.ALPACA: read_alpaca,
    FileFormat.SHAREGPT: read_sharegpt,
    FileFormat.ANTHROPIC: read_anthropic,
    FileFormat.TEXT: read_plain_text,
    FileFormat.PREFERENCE: read_preference,
    FileFormat.KTO: read_kto,
}
# What a line of the first looks like without the key that tells it from the second.
_PLAINER = {(FileFormat.ANTHROPIC, FileFormat.CHAT), (FileFormat.KTO, FileFormat.PROMPT_COMPLETION)}
_UNEXPECTED = "Unexpected file format, expected either prompt/completion pairs or chat messages."
_OPENAIS_NAMES = {
    FileFormat.TEXT: "fine-tune-text",
    FileFormat.PREFERENCE: "fine-tune-preference",
    FileFormat.KTO: "fine-tune-kto",
}  # every other one is "fine-tune-chat", the one of which its words are known
_KEYS = {FileFormat.TEXT: "text", FileFormat.KTO: "label"}
_WANTED = {
    "supervised": 'Give "messages", or "prompt" and "completion" alone',
    "kto": 'Give "prompt", "completion" and "label"',
    "continued_pretraining": 'Give "text" alone',
}  # by every other method
_PROMPTS = ("question", "query", "input", "source")
_ANSWERS = ("answer", "response", "output", "target")


def choose_format(row: JsonObject, line: int, method: MethodName | None) -> FileFormat:
    """The format of a file whose first line this is; without a method, every format will do.

    Raises:
        FileInvalid: it is in no format, or in none that the method trains on.
    """
    found = detect_format(row)
    if found is None:
        known = f'Line {line} has no key "messages".{_renaming(row)}'
        raise FileInvalid(line, "messages", known, text=f"{_UNEXPECTED} {known}")
    if method is not None and found not in formats_of(method):
        raise _of_another_method(row, found, line, method)
    return found


def read_row(row: JsonObject, line: int, held: FileFormat) -> Content:
    """Read one line of a file that began in the format `held`.

    Raises:
        FieldInvalid: a field is wrong.
        ExampleInvalid: the line is in another format.
    """
    found = detect_format(row)
    if found is None and held is FileFormat.CHAT:
        known = f'Line {line} has no key "messages".{_renaming(row)}'
        raise ExampleInvalid(line, "messages", known, text=f"{_UNEXPECTED} {known}")
    if found is None or found is held or (held, found) in _PLAINER:
        return READERS[held](row)
    raise _mixed(row, line, held, found)


def placed(error: FieldInvalid, line: int, number: int) -> ExampleInvalid:
    """Say on which line, which is the `number`th example, the field is wrong."""
    text = None
    if error.missing_role_of_message is not None and str(error.field).startswith("messages["):
        place = f"Example {number}, message {error.missing_role_of_message}"
        text = (
            f"Invalid file format. {place} Discriminator 'role' is missing in value "
            f"(line {line}). Give each message a role."
        )
    return ExampleInvalid(line, error.field, error.reason, text=text)


def _mixed(row: JsonObject, line: int, held: FileFormat, found: FileFormat) -> ExampleInvalid:
    missing = f' Line {line} has no key "messages".' if held is FileFormat.CHAT and "messages" not in row else ""
    reason = f"It holds {found.spoken}, but the file began with {held.spoken}. "
    if (held, found) == (FileFormat.CHAT, FileFormat.ANTHROPIC):
        reason += 'In a file of Anthropic messages give the first line a "system", which may be empty.'
    else:
        reason += "A file holds one format: rewrite the line, or move it to a file of its own."
    return ExampleInvalid(line, None, reason, text=f"{_UNEXPECTED}{missing} Line {line}: {reason}")


def _of_another_method(row: JsonObject, found: FileFormat, line: int, method: MethodName) -> FileInvalid:
    """In OpenAI's words for a file that is not for the method of its job; then the line, the field and what to do."""
    fitting = " or ".join(f"'{one}'" for one in methods_for(found))
    words = (
        f"Invalid file format. Input file is in the {_OPENAIS_NAMES.get(found, 'fine-tune-chat')} format, but the "
        f"specified fine-tuning job is not using {fitting or 'a method for it'} as the training method "
        f"(provided method={method})."
    )
    keys = ("messages", *(key for pair in PREFERENCE_SIDES for key in pair), *row)
    field = _KEYS.get(found) or next(key for key in keys if key in row)
    wanted = _WANTED.get(method, 'Give "input", "preferred_output" and "non_preferred_output"')
    change = f"{wanted}, or name the method {fitting}." if fitting else f"{wanted}."
    reason = f"It holds {found.spoken}. {change}"
    return FileInvalid(line, field, reason, text=f'{words} Line {line}, key "{field}": {reason}')


def _renaming(row: JsonObject) -> str:
    """A remedy for pairs that are spelled in another way than any format's."""
    prompt = next((key for key in _PROMPTS if key in row), None)
    answer = next((key for key in _ANSWERS if key in row), None)
    if prompt is None or answer is None:
        return ' Give "messages", or "prompt" and "completion".'
    return f' Rename "{prompt}" to "prompt" and "{answer}" to "completion".'
