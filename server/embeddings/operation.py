"""POST /v1/embeddings, as the relay answers it."""

from inference.engine import EMBEDDINGS_PATH
from server.base_models import Kind
from server.embeddings.answer import rewrite_answer
from server.embeddings.request import EmbeddingRequest, read_request
from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.operation import Operation


def _rewrite(raw: bytes, naming: Naming, _request: EmbeddingRequest) -> tuple[bytes, Usage]:
    return rewrite_answer(raw, naming)


EMBEDDINGS = Operation(
    path=b"/v1/embeddings",
    engine_path=EMBEDDINGS_PATH,
    prompt_param="input",
    read=read_request,
    rewrite=_rewrite,
    kind=Kind.EMBEDDING,
)
