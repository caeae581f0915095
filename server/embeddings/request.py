"""The body of an embeddings request → a checked request, or an error (pure). OpenAI: CreateEmbeddingRequest.

Every field of OpenAI's is decided here; everything else is refused by name, the engine's private switches above all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from server.relay.fields import Check, integer, missing, one_of, string
from server.relay.request_body import decide_fields, read_model, read_object, refuse_unknown
from server.relay.token_prompts import read_prompts

MAX_INPUTS = 2048  # OpenAI's
_MAX_DIMENSIONS = 2**16  # the engine knows the model's own

_PASSED_ON: dict[str, Check] = {
    "dimensions": integer(1, _MAX_DIMENSIONS),
    "encoding_format": one_of("float", "base64"),
    "input": partial(read_prompts, most=MAX_INPUTS),
}
_WITHOUT_EFFECT: dict[str, Check] = {"user": string}
_KNOWN = frozenset({"model", *_PASSED_ON, *_WITHOUT_EFFECT})


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request that may be put to an engine, once the engine's own name of the model is known."""

    model: str  # as asked
    fields: Mapping[str, Any] = field(repr=False)  # for the engine; without `model`
    raw: bytes = field(repr=False)  # as the client wrote it
    stream: bool = False
    is_kept: bool = False

    def body_for(self, model: str, cache_salt: str) -> bytes:
        """Give the engine's request: its own name of the model, and a salt that keeps projects' caches apart."""
        return orjson.dumps({**self.fields, "model": model, "cache_salt": cache_salt})


def read_request(raw: bytes) -> EmbeddingRequest:
    """Check a body.

    Raises:
        InvalidRequest: in OpenAI's words; the message repeats nothing of the input.
    """
    body = read_object(raw)
    model = read_model(body)
    refuse_unknown(body, _KNOWN)
    if body.get("input") is None:
        raise missing("input")
    return EmbeddingRequest(model, decide_fields(body, _PASSED_ON, _WITHOUT_EFFECT), raw)
