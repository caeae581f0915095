"""How much a project may ask, and what a request is taken to need before it is answered (pure)."""

from dataclasses import dataclass
from typing import Protocol

_BYTES_PER_TOKEN = 4
_DEFAULT_ANSWER_TOKENS = 16  # of a request that names no most; as OpenAI counted


@dataclass(frozen=True)
class Limits:
    """None: no limit."""

    requests_per_minute: int | None = None  # to each base model, under all its names
    tokens_per_minute: int | None = None  # likewise, of prompts and answers
    concurrent_answers: int | None = None

    @property
    def has_rates(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_minute)


class Overrides(Protocol):
    """A project's own limits. None: that of the settings; 0: none."""

    @property
    def requests_per_minute(self) -> int | None: ...
    @property
    def tokens_per_minute(self) -> int | None: ...
    @property
    def max_concurrent_answers(self) -> int | None: ...


def effective_limits(settings: Overrides, project: Overrides) -> Limits:
    return Limits(
        requests_per_minute=_either(project.requests_per_minute, settings.requests_per_minute),
        tokens_per_minute=_either(project.tokens_per_minute, settings.tokens_per_minute),
        concurrent_answers=_either(project.max_concurrent_answers, settings.max_concurrent_answers),
    )


def estimate_tokens(prompt_bytes: int, max_tokens: int | None, n: int = 1) -> int:
    """What is taken from the bucket until the answer's end says what it really was."""
    answer = _DEFAULT_ANSWER_TOKENS if max_tokens is None else max_tokens
    return prompt_bytes // _BYTES_PER_TOKEN + 1 + answer * n


def _either(own: int | None, default: int | None) -> int | None:
    return (default if own is None else own) or None
