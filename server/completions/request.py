"""The body of a completions request → a checked request, or an error (pure). OpenAI: CreateCompletionRequest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.completions.request_fields import KNOWN, PASSED_ON, WITHOUT_EFFECT
from server.errors import InvalidRequest
from server.relay.fields import JsonObject, missing
from server.relay.request_body import decide_fields, read_model, read_object, refuse_unknown
from server.relay.sampling_fields import MAX_CHOICES, check_stream_options, settle_greedy_choices
from server.relay.token_prompts import count_prompts

# What an answer came to is known in its last chunk, and of one that is cut, in each before. Ids of tokens would cost
# the engine less, but then it leaves an echo out.
_COUNTED: JsonObject = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@dataclass(frozen=True)
class CompletionRequest:
    """A request that may be put to an engine, once the engine's own name of the model is known."""

    model: str  # as asked
    stream: bool
    wants_usage: bool  # in a stream
    n: int  # choices that are given for each prompt
    fields: Mapping[str, Any] = field(repr=False)  # for the engine; without `model`
    raw: bytes = field(repr=False)  # as the client wrote it
    is_kept: bool = False

    @property
    def generates(self) -> bool:
        """Whether anything follows the prompt: of none at all the engine makes one token, which is not given on."""
        return self.fields.get("max_tokens") != 0

    def body_for(self, model: str, cache_salt: str) -> bytes:
        """Give the engine's request: its own name of the model, and a salt that keeps projects' caches apart."""
        added: JsonObject = {"model": model, "cache_salt": cache_salt, **(_COUNTED if self.stream else {})}
        return orjson.dumps({**self.fields, **added})


def read_request(raw: bytes) -> CompletionRequest:
    """Check a body.

    Raises:
        InvalidRequest: in OpenAI's words; the message repeats nothing of the prompts.
    """
    body = read_object(raw)
    model = read_model(body)
    refuse_unknown(body, KNOWN)
    if body.get("prompt") is None:
        raise missing("prompt")
    fields = decide_fields(body, PASSED_ON, WITHOUT_EFFECT)
    check_stream_options(fields)
    _check_choices(fields)
    if fields.get("max_tokens") == 0 and not fields.get("echo"):
        raise InvalidRequest(
            "Invalid value for 'max_tokens': 0 is only allowed when 'echo' is true.",
            param="max_tokens",
            code="invalid_value",
        )
    settle_greedy_choices(fields)
    options = fields.pop("stream_options", None) or {}
    wants_usage = bool(options.get("include_usage"))
    return CompletionRequest(model, bool(fields.get("stream")), wants_usage, fields.get("n", 1), fields, raw)


def _check_choices(fields: JsonObject) -> None:
    """Bound what one request has an engine do, as a chat's `n` is bounded."""
    n, best_of = fields.get("n", 1), fields.pop("best_of", None)
    if best_of is not None and best_of != n:
        raise InvalidRequest(
            "Unsupported value for 'best_of': the models of this server give every completion that they make. "
            "Ask for as many with 'n', with 'logprobs' if the best of them is to be chosen.",
            param="best_of",
            code="unsupported_value",
        )
    if n * count_prompts(fields["prompt"]) > MAX_CHOICES:
        raise InvalidRequest(
            f"Invalid value for 'n': of all prompts together at most {MAX_CHOICES} completions are made for a request.",
            param="n",
            code="invalid_value",
        )
