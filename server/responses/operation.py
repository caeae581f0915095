"""POST /v1/responses, as the relay answers it: on the engine's chat."""

from collections.abc import Callable

from inference.engine import CHAT_PATH
from server.errors import ApiError
from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.operation import Operation
from server.responses.answer import rewrite
from server.responses.desk import ResponseDesk
from server.responses.request import ResponseRequest, read_request
from server.responses.stream import EventRewriter

PATH = b"/v1/responses"
_NAMES = {  # by those of a chat
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}


def build_operation(desk: ResponseDesk) -> Operation[ResponseRequest]:
    """Build it for responses whose clients wait."""
    clock = desk.clock

    def rewrite_whole(raw: bytes, naming: Naming, request: ResponseRequest) -> tuple[bytes, Usage]:
        return rewrite(raw, naming, request, int(clock()))

    return Operation(
        path=PATH,
        engine_path=CHAT_PATH,
        prompt_param="input",
        read=read_request,
        rewrite=rewrite_whole,
        rewriter=_rewriter(clock),
        prepare=desk.prepare,
        fail=_fail,
        keep=desk.keep,
        names=_NAMES,
        in_app=frozenset({b"GET"}),  # which refuses a WebSocket by name
    )


def _rewriter(clock: Callable[[], float]) -> Callable[[Naming, ResponseRequest], EventRewriter]:
    def begin(naming: Naming, request: ResponseRequest) -> EventRewriter:
        return EventRewriter(naming, request, clock)

    return begin


def _fail(rewriter: EventRewriter, error: ApiError) -> bytes:
    return rewriter.fail(error)
