"""The JSON object of one line, or what is wrong with the line as JSON."""

import codecs

import orjson

from trainer.contract.depth import MAX_DEPTH, is_deeper
from trainer.contract.foreign_files import ONE_PER_LINE, name_foreign_text
from trainer.contract.invalid import ExampleInvalid, FileInvalid
from trainer.contract.messages import JsonObject

_TOO_DEEP = f"The line is nested more than {MAX_DEPTH} levels deep."


def read_object(line: bytes, number: int, *, is_first: bool) -> JsonObject:
    """Parse a line; `is_first` of the file says more about what the file is.

    Raises:
        ExampleInvalid: the line is not one JSON object.
        FileInvalid: neither will the others be.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if is_first and (foreign := _name_file(line, error)):
            raise FileInvalid(number, None, foreign) from None
        raise ExampleInvalid(number, None, _diagnose(line, error)) from None
    if isinstance(value, list) and is_first:
        raise FileInvalid(number, None, f"The file is a JSON array. {ONE_PER_LINE}")
    if not isinstance(value, dict):
        raise ExampleInvalid(number, None, f"The line is not a JSON object. {ONE_PER_LINE}")
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and is_deeper(value):
        raise ExampleInvalid(number, None, _TOO_DEEP)
    return value


def _name_file(line: bytes, error: orjson.JSONDecodeError) -> str | None:
    if line.startswith(b"["):
        return f"The file looks like a JSON array. {ONE_PER_LINE}"
    if line.startswith(b"{") and error.msg == "unexpected end of data":
        return f"The file looks like pretty-printed JSON, an object over several lines. {ONE_PER_LINE}"
    return name_foreign_text(line)


def _diagnose(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as undecodable:
        return f"The line is not UTF-8 (byte {undecodable.start + 1}). Save the file as UTF-8."
    if error.msg == "depth limit exceeded":
        return _TOO_DEEP
    rest = text[error.pos :]
    place = f"The line is not valid JSON (character {error.pos + 1})"
    if rest.startswith(("NaN", "Inf", "-In")):
        return f"{place}: NaN and Infinity are not JSON."
    if text.startswith(codecs.BOM_UTF8.decode()):
        return f"{place}: it begins with a byte order mark, as when files are put together. Remove it."
    if rest.startswith("'"):
        return f"{place}: keys and strings stand between \", not '. {ONE_PER_LINE}"
    if error.msg.startswith("unexpected content") and rest.startswith("{"):
        return f"{place}: several JSON objects stand on it. {ONE_PER_LINE}"
    if error.msg.startswith("unexpected content") and rest.startswith(","):
        return f"{place}: a comma follows the object, as in an array. Remove it."
    return f"{place}. {ONE_PER_LINE}"
