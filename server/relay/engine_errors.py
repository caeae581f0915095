"""What an engine refused or could not do → the error a client sees, in OpenAI's words (pure)."""

import re
from typing import Any

import orjson

import inference.engine
from inference.engine import AdapterRejected, EngineRefusal
from server.base_models import BaseModelEntry
from server.errors import ApiError, EngineUnavailable, InvalidRequest, ModelNotServable, NotFound, ServerFault

_OF_THE_PROMPT = frozenset({"input_text", "input_tokens"})
_OF_THE_COMPLETION = frozenset({"max_tokens", "max_completion_tokens"})
_MAX_SHOWN = 300  # characters of the engine's own words
_VALUES = re.compile(r"\s*\(parameter=.*", re.DOTALL)  # the engine repeats what was sent


def not_ready(seen: inference.engine.EngineUnavailable | None = None) -> EngineUnavailable:
    """`seen`: what the engine's side said of it, and when to try again."""
    because = "" if seen is None or seen.retry_after_s is None else f" ({seen})"
    error = EngineUnavailable(
        f"The model is not ready to answer{because}. It comes by itself: try again shortly.",
        code="engine_unavailable",
    )
    if seen is not None and seen.retry_after_s is not None:
        error.retry_after_s = seen.retry_after_s
    return error


def unknown_model(name: str) -> NotFound:
    """OpenAI's error; the same for a model of another project as for one that never was."""
    return NotFound(
        f"The model '{name}' does not exist or you do not have access to it.", param="model", code="model_not_found"
    )


def not_servable(name: str, rejected: AdapterRejected) -> ModelNotServable:
    return ModelNotServable(
        f"The model '{name}' cannot be served: {rejected}. Restore its files, or fine-tune it again.",
        code="model_not_servable",
    )


def broken_off() -> ServerFault:
    return ServerFault("The answer broke off before its end: the model stopped. Send the request again.")


def describe_refusal(refusal: EngineRefusal, base: BaseModelEntry, prompt_param: str) -> ApiError:
    """Put an engine's refusal in OpenAI's words."""
    if refusal.status >= 500 or refusal.status == 404:
        return not_ready()
    message, param = _read(refusal.body)
    if param in _OF_THE_PROMPT:
        but = f"your {prompt_param} resulted in more. Please reduce the length of the {prompt_param}."
        return _too_long(base, but, prompt_param)
    if param in _OF_THE_COMPLETION:
        return _too_long(base, f"'{param}' asks for more. Please ask for a shorter completion.", param)
    return InvalidRequest(message, param=param, code="invalid_value")


def _too_long(base: BaseModelEntry, but: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model's maximum context length is {base.context_length} tokens. However, {but}",
        param=param,
        code="context_length_exceeded",
    )


def _read(body: bytes) -> tuple[str, str | None]:
    error: Any = None
    try:
        error = orjson.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "The model cannot answer this request.", None
    shown = _VALUES.sub("", message)[:_MAX_SHOWN]
    return f"Invalid request: {shown}", param if isinstance(param, str) else None
