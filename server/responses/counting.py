"""POST /v1/responses/input_tokens, as the relay answers it: the engine's own count of what a model would read."""

from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec
import orjson

from inference.engine import TOKENIZE_PATH
from server.relay.accounts import Caller, Usage
from server.relay.answers import AnswerUnusable, Naming
from server.relay.fields import unrecognized
from server.relay.operation import Operation
from server.relay.request_body import read_object
from server.responses.desk import ResponseDesk
from server.responses.request import ResponseRequest, read_request

PATH = b"/v1/responses/input_tokens"
_KNOWN = frozenset(
    {
        *("model", "input", "instructions", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls"),
        *("text", "reasoning", "truncation", "conversation"),
    }
)


class _Count(msgspec.Struct):
    count: int


_COUNTS = msgspec.json.Decoder(_Count)


@dataclass(frozen=True, slots=True)
class CountRequest:
    """A request of which only the input counts."""

    asked: ResponseRequest

    stream = False
    is_kept = False

    @property
    def model(self) -> str:
        return self.asked.model

    @property
    def fields(self) -> Any:
        return self.asked.fields

    @property
    def raw(self) -> bytes:
        return self.asked.raw

    def body_for(self, model: str, _cache_salt: str) -> bytes:
        """Give the engine what its chat template renders."""
        fields = self.asked.fields
        body = {"model": model, "messages": fields["messages"]}
        if "tools" in fields:
            body["tools"] = fields["tools"]
        if "reasoning_effort" in fields:
            body["chat_template_kwargs"] = {"reasoning_effort": fields["reasoning_effort"]}
        return orjson.dumps(body)


def build_counting(desk: ResponseDesk) -> Operation[CountRequest]:
    async def prepare(caller: Caller, request: CountRequest) -> CountRequest:
        return CountRequest(await desk.prepare(caller, request.asked))

    return Operation(
        path=PATH,
        engine_path=TOKENIZE_PATH,
        prompt_param="input",
        read=read_count_request,
        rewrite=rewrite_count,
        rewriter=_no_stream,
        prepare=prepare,
    )


def read_count_request(raw: bytes) -> CountRequest:
    """Raises: InvalidRequest."""
    body = read_object(raw)
    if not body.keys() <= _KNOWN:
        raise unrecognized([name for name in body if name not in _KNOWN])
    return CountRequest(read_request(raw))


def rewrite_count(raw: bytes, _naming: Naming, _request: CountRequest) -> tuple[bytes, Usage]:
    """Raises: AnswerUnusable."""
    try:
        count = _COUNTS.decode(raw).count
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerUnusable("the engine's count has another form than expected") from error
    return orjson.dumps({"object": "response.input_tokens", "input_tokens": count}), Usage(0, 0)


def _no_stream(_naming: Naming, _request: CountRequest) -> NoReturn:
    raise AssertionError("a count is never streamed")
