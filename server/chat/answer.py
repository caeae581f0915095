"""The engine's answers → OpenAI's, by an allowlist of OpenAI's fields (pure): private ones never pass.

OpenAI: CreateChatCompletionResponse, CreateChatCompletionStreamResponse.
The classes hold what passes; whatever else the engine wrote is not even read.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.engine_forms import EngineUsage, read_event, read_whole

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class _Scored(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Scored):
    top_logprobs: list[_Scored] = []


class _Logprobs(Struct):
    content: list[_Token] | None = None
    refusal: None = None


class _CalledFunction(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"


class _Message(Struct):
    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    tool_calls: list[_Call] | UnsetType | None = UNSET


class _Choice(Struct):
    index: int
    message: _Message
    finish_reason: FinishReason
    logprobs: _Logprobs | None = None


class _Answer(Struct, kw_only=True):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: EngineUsage
    service_tier: str | None = None
    error: Any = UNSET


class _CalledPart(Struct):
    name: str | UnsetType | None = UNSET
    arguments: str | UnsetType | None = UNSET


class _CallPart(Struct):
    index: int
    id: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    function: _CalledPart | None = None


class _Delta(Struct):
    role: str | UnsetType | None = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: list[_CallPart] | UnsetType | None = UNSET


class _ChunkChoice(Struct):
    index: int
    delta: _Delta
    logprobs: _Logprobs | None = None
    finish_reason: FinishReason | None = None


class Chunk(Struct, kw_only=True):
    """An event of a stream."""

    id: str
    object: str
    created: int
    model: str
    service_tier: str | None = None
    choices: list[_ChunkChoice]
    usage: EngineUsage | UnsetType | None = UNSET
    error: Any = UNSET

    def says_something(self) -> bool:
        """Whether there is anything in it for a client: the engine also writes chunks that hold but ids of tokens."""
        return not self.choices or any(choice != _ChunkChoice(choice.index, _Delta()) for choice in self.choices)


class _Tokens(Struct):
    token_ids: list[int] | None = None


class _TokensOfChunk(Struct):
    """What a chunk says of tokens, which is ours to count and for nobody to see."""

    prompt_token_ids: list[int] | None = None
    choices: list[_Tokens] = []


_ANSWERS = msgspec.json.Decoder(_Answer)
_CHUNKS = msgspec.json.Decoder(Chunk)
_USAGES = msgspec.json.Decoder(EngineUsage)
_TOKENS = msgspec.json.Decoder(_TokensOfChunk)
_ENCODER = msgspec.json.Encoder()


def rewrite_answer(raw: bytes, naming: Naming) -> tuple[bytes, Usage]:
    """Give a whole answer in OpenAI's form, and what it came to.

    Raises:
        AnswerUnusable: nothing of it may be shown.
    """
    answer = read_whole(raw, _ANSWERS, naming)
    answer.object, answer.model, answer.service_tier = "chat.completion", naming.asked, "default"
    for choice in answer.choices:
        _complete(choice)
    usage = answer.usage.read()
    answer.usage.complete()
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
    chunk.object, chunk.model, chunk.service_tier = "chat.completion.chunk", asked, "default"
    for choice in chunk.choices:
        _drop_nulls(choice.delta)
        choice.logprobs = _known(choice.logprobs)
    if not wants_usage:
        chunk.usage = UNSET
    elif isinstance(chunk.usage, EngineUsage) and not chunk.choices:
        chunk.usage.complete()
    else:
        chunk.usage = None
    return _ENCODER.encode(chunk)


def read_usage(raw: bytes) -> Usage | None:
    """Read the engine's own count; None if it is none."""
    try:
        return _USAGES.decode(raw).read()
    except msgspec.DecodeError:
        return None


def count_tokens(payload: bytes) -> tuple[int | None, int]:
    """Count the ids in a chunk: the prompt's, None if they are not there, and those of the answer."""
    try:
        tokens = _TOKENS.decode(payload)
    except msgspec.ValidationError:  # it holds something else under their names; a whole answer is counted all the same
        return None, 0
    prompt = None if tokens.prompt_token_ids is None else len(tokens.prompt_token_ids)
    return prompt, sum(len(choice.token_ids or ()) for choice in tokens.choices)


def _complete(choice: _Choice) -> None:
    """Say what the engine leaves open as OpenAI does."""
    message = choice.message
    message.annotations = []
    if message.tool_calls:
        message.content = message.content or None
    else:
        message.tool_calls = UNSET
    choice.logprobs = _known(choice.logprobs)


def _known(logprobs: _Logprobs | None) -> _Logprobs | None:
    return None if logprobs is None or logprobs.content is None else logprobs


def _drop_nulls(delta: _Delta) -> None:
    if not delta.tool_calls:
        delta.tool_calls = UNSET
        return
    for part in delta.tool_calls:
        part.id = UNSET if part.id is None else part.id
        part.type = UNSET if part.type is None else part.type
        function = part.function = part.function or _CalledPart()
        function.name = UNSET if function.name is None else function.name
        function.arguments = UNSET if function.arguments is None else function.arguments
