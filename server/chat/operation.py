"""POST /v1/chat/completions, as the relay answers it."""

from inference.engine import CHAT_PATH
from server.chat.answer import rewrite_answer
from server.chat.request import ChatRequest, read_request
from server.chat.stream import StreamRewriter
from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.operation import Operation


def _rewrite(raw: bytes, naming: Naming, _request: ChatRequest) -> tuple[bytes, Usage]:
    return rewrite_answer(raw, naming)


def _rewriter(naming: Naming, request: ChatRequest) -> StreamRewriter:
    return StreamRewriter(naming, wants_usage=request.wants_usage)


CHAT = Operation(
    path=b"/v1/chat/completions",
    engine_path=CHAT_PATH,
    prompt_param="messages",
    read=read_request,
    rewrite=_rewrite,
    rewriter=_rewriter,
)
