"""The engine's completions → OpenAI's, by an allowlist of OpenAI's fields (pure): private ones never pass.

OpenAI: CreateCompletionResponse, which is the form of a stream's events, too.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.engine_forms import EngineUsage, read_event, read_whole

FinishReason = Literal["stop", "length", "content_filter"]


class _Logprobs(Struct):
    text_offset: list[int]
    token_logprobs: list[float | None]  # null: of a prompt's first token
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class _Part(Struct):
    """Of a choice, what one event of a stream brings."""

    text: str
    index: int
    logprobs: _Logprobs | None = None
    finish_reason: FinishReason | None = None


class _Choice(Struct):
    text: str
    index: int
    finish_reason: FinishReason
    logprobs: _Logprobs | None = None


class _Answer(Struct, kw_only=True):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: EngineUsage
    error: Any = UNSET


class Chunk(Struct, kw_only=True):
    """An event of a stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[_Part]
    usage: EngineUsage | UnsetType | None = UNSET
    error: Any = UNSET


_ANSWERS = msgspec.json.Decoder(_Answer)
_CHUNKS = msgspec.json.Decoder(Chunk)
_ENCODER = msgspec.json.Encoder()


def rewrite_answer(raw: bytes, naming: Naming, *, generates: bool) -> tuple[bytes, Usage]:
    """Give a whole answer in OpenAI's form, and what it came to. `generates`: as the request has it.

    Raises:
        AnswerUnusable: nothing of it may be shown.
    """
    answer = read_whole(raw, _ANSWERS, naming)
    answer.object, answer.model = "text_completion", naming.asked
    usage = settle(answer.usage, generates=generates)
    return _ENCODER.encode(answer), usage


def read_chunk(payload: bytes, naming: Naming) -> Chunk:
    """Read an event of a stream.

    Raises:
        AnswerRefused: it is the engine's refusal.
        AnswerUnusable: it is no event of an answer, or another model's.
    """
    return read_event(payload, _CHUNKS, naming)


def write_chunk(chunk: Chunk, asked: str, *, wants_usage: bool) -> bytes:
    """Give an event of a stream in OpenAI's form."""
    chunk.object, chunk.model = "text_completion", asked
    if not wants_usage:
        chunk.usage = UNSET
    elif chunk.choices:
        chunk.usage = None
    return _ENCODER.encode(chunk)


def settle(usage: EngineUsage, *, generates: bool) -> Usage:
    """Complete the count as OpenAI has it: a token that was made for no one is not counted."""
    if not generates:
        usage.completion_tokens, usage.total_tokens = 0, usage.prompt_tokens
    counted = usage.read()
    usage.complete()
    return counted
