"""What the answer to a request of a batch means, and how it stands in the files of answers (pure)."""

from enum import Enum
from typing import Any, NamedTuple

import orjson

from server.batches.input_lines import InputLine

_MOST_FALLS = 10  # of an engine under one request, or of its answer: then it is the request
_MOST_FAULTS = 3  # 500s to one request


class Kind(Enum):
    """Of an answer; the value stands in the file of results."""

    ANSWERED = "a"
    REFUSED = "r"
    EXPIRED = "e"
    CANCELLED = "c"


class TokensUsed(NamedTuple):
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: tuple[int, ...]) -> "TokensUsed":  # type: ignore[override]  # a sum, not a longer tuple
        return TokensUsed(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Outcome(NamedTuple):
    """A request's one result."""

    kind: Kind
    line: bytes  # of the output or error file
    used: TokensUsed = TokensUsed()


class Again(Enum):
    """Why a request is to be sent again."""

    AWAY = "away"  # what answers is not there, or has no room: no fault of the request
    FELL = "fell"  # the engine did, under the request or beside it
    FAULT = "fault"  # an answer that is none; the engine is as it was


class Answer(NamedTuple):
    status: int
    request_id: str
    body: bytes


def judge(answer: Answer, *, engine_was_ready: bool, falls: int, faults: int) -> Again | None:
    """Whether to send the request again; None: what came is its answer. `falls`, `faults`: of it so far."""
    if answer.status == 429:
        return Again.AWAY
    if answer.status == 503 and _code(answer.body) != "model_not_servable":
        if not engine_was_ready:
            return Again.AWAY
        return Again.FELL if falls < _MOST_FALLS else None
    if answer.status >= 500 and answer.status != 503:
        return Again.FAULT if faults < _MOST_FAULTS else None
    return None


def conclude(line: InputLine, answer: Answer, line_id: str) -> Outcome:
    """Make the result of an answer that counts."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = answer.body.decode("utf-8", errors="replace")
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": body}
    rendered = orjson.dumps({"id": line_id, "custom_id": line.custom_id, "response": response, "error": None})
    if answer.status >= 300:
        return Outcome(Kind.REFUSED, rendered)
    return Outcome(Kind.ANSWERED, rendered, tokens_used(body))


def give_up(line: InputLine, kind: Kind, line_id: str) -> Outcome:
    """Make the result of a request that was never answered."""
    error = _GIVEN_UP[kind]
    return Outcome(kind, orjson.dumps({"id": line_id, "custom_id": line.custom_id, "response": None, "error": error}))


def refuse_stream(line: InputLine, line_id: str, request_id: str) -> Outcome:
    return conclude(line, Answer(400, request_id, _NO_STREAM), line_id)


def tokens_used(body: Any) -> TokensUsed:
    """Read the usage of whichever route's answer; nothing where it has none."""
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return TokensUsed()
    given = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    thought = _detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    written = _number(usage, "completion_tokens", "output_tokens")
    return TokensUsed(_number(usage, "prompt_tokens", "input_tokens"), given, written, thought)


_GIVEN_UP = {
    Kind.EXPIRED: {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    },
    Kind.CANCELLED: {
        "code": "batch_cancelled",
        "message": "This request was not executed before the batch was cancelled.",
    },
}
_NO_STREAM = orjson.dumps(
    {
        "error": {
            "message": "Unsupported value: 'stream' does not support true in a batch.",
            "type": "invalid_request_error",
            "param": "stream",
            "code": "unsupported_value",
        }
    }
)


def _code(body: bytes) -> str | None:
    try:
        code = orjson.loads(body)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) else None


def _number(usage: dict[str, Any], *names: str) -> int:
    return next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)


def _detail(usage: dict[str, Any], places: tuple[str, ...], name: str) -> int:
    details: dict[str, Any] = next((usage[place] for place in places if isinstance(usage.get(place), dict)), {})
    return _number(details, name)
