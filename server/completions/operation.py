"""POST /v1/completions, as the relay answers it."""

from inference.engine import COMPLETIONS_PATH
from server.completions.answer import rewrite_answer
from server.completions.request import CompletionRequest, read_request
from server.completions.stream import StreamRewriter
from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.operation import Operation


def _rewrite(raw: bytes, naming: Naming, request: CompletionRequest) -> tuple[bytes, Usage]:
    return rewrite_answer(raw, naming, generates=request.generates)


COMPLETIONS = Operation(
    path=b"/v1/completions",
    engine_path=COMPLETIONS_PATH,
    prompt_param="prompt",
    read=read_request,
    rewrite=_rewrite,
    rewriter=StreamRewriter,
)
