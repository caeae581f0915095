"""What the engine's answers have in common, whatever they answer: their usage, their model, their errors (pure)."""

from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct

from server.relay.accounts import Usage
from server.relay.answers import AnswerRefused, AnswerUnusable, Naming


class _PromptDetails(Struct):
    cached_tokens: int | None = 0
    audio_tokens: int | None = 0


class _CompletionDetails(Struct):
    reasoning_tokens: int | None = 0
    audio_tokens: int | None = 0
    accepted_prediction_tokens: int | None = 0
    rejected_prediction_tokens: int | None = 0


class EngineUsage(Struct):
    """The engine's own count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def read(self) -> Usage:
        details = self.prompt_tokens_details
        return Usage(self.prompt_tokens, self.completion_tokens, (details and details.cached_tokens) or 0)

    def complete(self) -> None:
        """Fill in what the engine leaves out, as OpenAI has it."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        self.prompt_tokens_details = _PromptDetails((prompt and prompt.cached_tokens) or 0)
        self.completion_tokens_details = _CompletionDetails((completion and completion.reasoning_tokens) or 0)


class Answer(Protocol):
    """A whole one, or an event of a stream."""

    model: str
    error: Any  # UNSET: it is none


Read = TypeVar("Read", bound=Answer)


def read_whole(raw: bytes, form: msgspec.json.Decoder[Read], naming: Naming) -> Read:
    """Raises: AnswerUnusable: it has another form, is an error, or is another model's."""
    try:
        answer = form.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerUnusable("the engine's answer has another form than expected") from error
    _check_model(answer, naming)
    return answer


def read_event(payload: bytes, form: msgspec.json.Decoder[Read], naming: Naming) -> Read:
    """Read an event of a stream.

    Raises:
        AnswerRefused: it is the engine's refusal.
        AnswerUnusable: it is no event of an answer, or another model's.
    """
    try:
        event = form.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _raise_refusal(payload)
        raise AnswerUnusable("the engine's stream has another form than expected") from error
    _check_model(event, naming)
    return event


def _raise_refusal(payload: bytes) -> None:
    """Raises: AnswerRefused: an event of a stream is the engine's refusal; without effect if it is not."""
    try:
        error = msgspec.json.decode(payload)["error"]
        status = int(error.get("code") or 500)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return
    raise AnswerRefused(status, payload)


def _check_model(answer: Answer, naming: Naming) -> None:
    if answer.error is not UNSET:
        raise AnswerUnusable("the engine failed while it answered")
    if answer.model != naming.engine:
        raise AnswerUnusable("another model answered than was asked")
