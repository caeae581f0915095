"""What a model is given to read, in OpenAI's four forms: a text, texts, tokens, or arrays of tokens (pure)."""

from typing import Any, TypeGuard

from server.errors import InvalidRequest
from server.relay.fields import an_array, wrong_type

_FORMS = "a string, an array of strings, an array of tokens, or an array of token arrays"
_MOST_TOKENS = 2**20  # of a request; a body has room for more, and looking at them holds others up
_LAST_TOKEN = 2**31 - 1  # which no vocabulary has; the engine knows its own


def read_prompts(value: object, at: str, most: int) -> str | list[Any]:
    """Give it as the engine reads it, which knows all four.

    Raises:
        InvalidRequest: of another form, empty, or of more than `most` texts.
    """
    if isinstance(value, str):
        return _text(value, at)
    if not isinstance(value, list):
        raise wrong_type(at, _FORMS, value)
    if value and _is_token(value[0]):
        return _tokens(value, at)
    prompts = an_array(value, at, "strings or token arrays", most)
    of_tokens = isinstance(prompts[0], list)
    if of_tokens and sum(len(prompt) for prompt in prompts if isinstance(prompt, list)) > _MOST_TOKENS:
        raise InvalidRequest(
            f"Invalid '{at}': too many tokens. At most {_MOST_TOKENS} are read for a request.",
            param=at,
            code="array_above_max_length",
        )
    for index, prompt in enumerate(prompts):
        place = f"{at}[{index}]"
        if of_tokens and isinstance(prompt, list):
            _tokens(prompt, place)
        elif not of_tokens and isinstance(prompt, str):
            _text(prompt, place)
        else:
            raise wrong_type(place, _expected(prompts[0]), prompt)
    return prompts


def count_prompts(value: object) -> int:
    """Count the texts in what was read; one, where nothing was."""
    return len(value) if isinstance(value, list) and not isinstance(value[0], int) else 1


def _expected(first: object) -> str:
    """What an array holds is told by its first entry."""
    if isinstance(first, list):
        return "an array of tokens"
    return "a string" if isinstance(first, str) else "a string or an array of tokens"


def _text(value: str, at: str) -> str:
    if not value:
        raise InvalidRequest(f"Invalid '{at}': empty string.", param=at, code="empty_string")
    return value


def _tokens(value: list[Any], at: str) -> list[int]:
    tokens = an_array(value, at, "tokens", _MOST_TOKENS)
    if set(map(type, tokens)) == {int} and min(tokens) >= 0 and max(tokens) <= _LAST_TOKEN:
        return tokens  # looked at without a loop of ours, as nearly all are
    for index, token in enumerate(tokens):
        if not _is_token(token):
            raise wrong_type(f"{at}[{index}]", "a token", token)
        if not 0 <= token <= _LAST_TOKEN:
            raise unknown_token(f"{at}[{index}]")
    return tokens


def _is_token(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def unknown_token(at: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{at}': the model has no such token.",
        param=at,
        code="invalid_value",
    )
