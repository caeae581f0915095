"""A line of a batch's input file → the request in it, or what is wrong with it (pure)."""

from typing import Any, NamedTuple

import orjson

MOST_LINES = 50_000
MOST_BYTES = 200 * 1024**2
_LONGEST_ID = 512  # characters


class LineFault(NamedTuple):
    """Of OpenAI's codes. The message repeats nothing of the line."""

    code: str
    message: str
    param: str | None = None


class InputLine(NamedTuple):
    custom_id: str
    model: str
    body: dict[str, Any]

    @property
    def is_streamed(self) -> bool:
        """Whether it asks for what a line has no place for."""
        return self.body.get("stream") is True


def read_line(raw: bytes, endpoint: str) -> InputLine | LineFault:
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return LineFault("invalid_json_line", "This line is not parseable as valid JSON.")
    if not isinstance(line, dict):
        return LineFault("invalid_json_line", "This line is not a JSON object.")
    body = line.get("body")
    return _wrong_id(line) or _wrong_route(line, endpoint) or _wrong_body(body) or _read(line)


def _read(line: dict[str, Any]) -> InputLine:
    return InputLine(line["custom_id"], line["body"]["model"], line["body"])


def _wrong_id(line: dict[str, Any]) -> LineFault | None:
    custom_id = line.get("custom_id")
    if custom_id is None:
        return _missing("custom_id")
    if not isinstance(custom_id, str):
        return LineFault("invalid_type", "The custom_id has to be a string.", "custom_id")
    if not 1 <= len(custom_id) <= _LONGEST_ID:
        return LineFault("invalid_custom_id", f"The custom_id has to have 1 to {_LONGEST_ID} characters.", "custom_id")
    return None


def _wrong_route(line: dict[str, Any], endpoint: str) -> LineFault | None:
    if line.get("method") is None:
        return _missing("method")
    if line["method"] != "POST":
        return LineFault("invalid_method", "The method of a request has to be POST.", "method")
    if line.get("url") is None:
        return _missing("url")
    if line["url"] != endpoint:
        said = f"The url of a request has to be the batch's endpoint, {endpoint}."
        return LineFault("mismatched_endpoint" if isinstance(line["url"], str) else "invalid_url", said, "url")
    return None


def _wrong_body(body: object) -> LineFault | None:
    if body is None:
        return _missing("body")
    if not isinstance(body, dict):
        return LineFault("invalid_type", "The body of a request has to be an object.", "body")
    model = body.get("model")
    if model is None or model == "":
        return _missing("body.model")
    if not isinstance(model, str):
        return LineFault("invalid_type", "The model has to be a string.", "body.model")
    return None


def _missing(param: str) -> LineFault:
    return LineFault("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
