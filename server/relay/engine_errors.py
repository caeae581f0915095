"""What an engine refused or could not do → the error a client sees, in OpenAI's words (pure)."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

import inference.engine
from inference.engine import AdapterRejected, EngineRefusal
from server.base_models import BaseModelEntry, Kind
from server.errors import ApiError, EngineUnavailable, InvalidRequest, ModelNotServable, NotFound, ServerFault
from server.relay.token_prompts import unknown_token

_OF_THE_PROMPT = frozenset({"input_text", "input_tokens"})
_OF_THE_COMPLETION = frozenset({"max_tokens", "max_completion_tokens"})
_OUT_OF_VOCABULARY = "is out of vocabulary"
_NO_MATRYOSHKA = "does not support Matryoshka embeddings"
_MATRYOSHKA = re.compile(r"only supports (?:Matryoshka )?dimensions (in range )?(\[[0-9, ]+\])")
_KINDS = {  # what the model is, and what to do about it
    Kind.CHAT: ("no embedding model", "Ask one that is; if there is none, the server's operator can offer one."),
    Kind.EMBEDDING: ("an embedding model", "Did you mean to use v1/embeddings?"),
}
_THE_SAME: Mapping[str, str] = MappingProxyType({})
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


def wrong_kind(name: str, kind: Kind, path: str) -> InvalidRequest:
    """The model is there, but gives something else than is asked for."""
    it_is, instead = _KINDS[kind]
    return InvalidRequest(
        f"The model '{name}' is {it_is} and thus not supported in the {path.lstrip('/')} endpoint. {instead}",
        param="model",
        code="unsupported_value",
    )


def not_servable(name: str, rejected: AdapterRejected) -> ModelNotServable:
    return ModelNotServable(
        f"The model '{name}' cannot be served: {rejected}. Restore its files, or fine-tune it again.",
        code="model_not_servable",
    )


def broken_off() -> ServerFault:
    return ServerFault("The answer broke off before its end: the model stopped. Send the request again.")


def describe_refusal(
    refusal: EngineRefusal, base: BaseModelEntry, prompt_param: str, names: Mapping[str, str] = _THE_SAME
) -> ApiError:
    """Put an engine's refusal in OpenAI's words. `names`: of the route's fields that the engine calls otherwise."""
    if refusal.status >= 500 or refusal.status == 404:
        return not_ready()
    message, param = _read(refusal.body)
    if message.endswith(_OUT_OF_VOCABULARY):
        return unknown_token(prompt_param)
    if "dimensions" in message and (error := _wrong_dimensions(message)) is not None:
        return error
    if param in _OF_THE_PROMPT:
        but = f"your {prompt_param} resulted in more. Please reduce the length of the {prompt_param}."
        return _too_long(base, but, prompt_param)
    if param in _OF_THE_COMPLETION:
        asking = names.get(param, param)
        return _too_long(base, f"'{asking}' asks for more. Please ask for a shorter completion.", asking)
    return InvalidRequest(message, param=param and names.get(param, param), code="invalid_value")


def _wrong_dimensions(message: str) -> InvalidRequest | None:
    if _NO_MATRYOSHKA in message:
        return InvalidRequest(
            "This model's embeddings have one length. Leave 'dimensions' out.",
            param="dimensions",
            code="unsupported_parameter",
        )
    lengths = _MATRYOSHKA.search(message)
    if lengths is None:
        return None
    return InvalidRequest(
        f"Invalid value for 'dimensions': expected a length {lengths[1] or 'of '}{lengths[2]} for this model.",
        param="dimensions",
        code="invalid_value",
    )


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
