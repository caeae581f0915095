"""The engine's embeddings → OpenAI's, by an allowlist of OpenAI's fields (pure). OpenAI: CreateEmbeddingResponse."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from server.relay.accounts import Usage
from server.relay.answers import AnswerUnusable, Naming
from server.relay.engine_forms import read_whole


class _Embedding(Struct):
    index: int
    embedding: msgspec.Raw  # as the engine wrote it: it is nearly all of the answer, and as OpenAI has it
    object: Literal["embedding"] = "embedding"


class _Usage(Struct):
    prompt_tokens: int
    total_tokens: int


class _Answer(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[_Embedding]
    model: str
    usage: _Usage
    error: Any = UNSET


_ANSWERS = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()
_BEGINNINGS = (b"[", b'"')  # of numbers, and of base64
_NO_NUMBER = b"null"  # what the engine writes for one that is not finite


def rewrite_answer(raw: bytes, naming: Naming) -> tuple[bytes, Usage]:
    """Give an answer in OpenAI's form, and what it came to.

    Raises:
        AnswerUnusable: nothing of it may be shown.
    """
    answer = read_whole(raw, _ANSWERS, naming)
    if not all(map(_is_vector, answer.data)):
        raise AnswerUnusable("the engine's answer holds something else than vectors")
    answer.model = naming.asked
    return _ENCODER.encode(answer), Usage(answer.usage.prompt_tokens, 0)


def _is_vector(one: _Embedding) -> bool:
    written = bytes(one.embedding)
    return written.startswith(_BEGINNINGS) and (written.startswith(b'"') or _NO_NUMBER not in written)
