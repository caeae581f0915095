"""OpenAI's fields of a chat request, one by one: passed on, without effect, or refused with a reason (pure)."""

from server.chat.tools import read_response_format, read_tool_choice, read_tools
from server.errors import InvalidRequest
from server.relay.fields import (
    Check,
    JsonObject,
    an_array,
    an_object,
    boolean,
    decimal,
    integer,
    known_keys,
    one_of,
    only,
    present,
    refused,
    string,
)

MAX_CHOICES = 128  # OpenAI's bound of `n`
_MAX_BIASES = 1024
_MAX_TOKENS = integer(1, 2**31 - 1)
_NOT_STORED = "Chat completions are not stored here. Leave out 'store', or send false."


def _stop(value: object, at: str) -> list[str]:
    words = [value] if isinstance(value, str) else an_array(value, at, "strings", 4)
    for word in words:
        if not string(word, at):
            raise InvalidRequest(f"Invalid '{at}': empty string.", param=at, code="empty_string")
    return words


def _top_p(value: object, at: str) -> float:
    """OpenAI takes 0 for the likeliest token alone; the engine wants more than 0, and means the same by very little."""
    return float(decimal(0, 1)(value, at)) or 1e-9


def _logit_bias(value: object, at: str) -> JsonObject:
    biases = an_object(value, at)
    if len(biases) > _MAX_BIASES:
        raise InvalidRequest(
            f"Invalid '{at}': object too large. Expected at most {_MAX_BIASES} tokens, but got {len(biases)} instead.",
            param=at,
            code="object_above_max_properties",
        )
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit()):
            raise InvalidRequest(
                f"Invalid key in '{at}': expected token ids, whole numbers.", param=at, code="invalid_value"
            )
        decimal(-100, 100)(bias, at)
    return biases


def _stream_options(value: object, at: str) -> JsonObject:
    options = present(an_object(value, at))
    known_keys(options, at, frozenset({"include_usage", "include_obfuscation"}))
    for name, flag in options.items():
        boolean(flag, f"{at}.{name}")
    return {"include_usage": bool(options.get("include_usage"))}


def _metadata(value: object, at: str) -> None:
    for name, entry in an_object(value, at).items():
        string(entry, f"{at}.{name[:64]}")


def _modalities(value: object, at: str) -> None:
    if an_array(value, at, "strings", 2) != ["text"]:
        raise InvalidRequest(
            f"Unsupported value for '{at}': the models of this server answer in text. Send [\"text\"] or nothing.",
            param=at,
            code="unsupported_value",
        )


def _store(value: object, at: str) -> None:
    if boolean(value, at):
        raise InvalidRequest(f"Unsupported value for '{at}'. {_NOT_STORED}", param=at, code="unsupported_value")


PASSED_ON: dict[str, Check] = {
    "frequency_penalty": decimal(-2, 2),
    "logit_bias": _logit_bias,
    "logprobs": boolean,
    "max_completion_tokens": _MAX_TOKENS,
    "max_tokens": _MAX_TOKENS,
    "n": integer(1, MAX_CHOICES),
    "parallel_tool_calls": boolean,
    "presence_penalty": decimal(-2, 2),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "response_format": read_response_format,
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "stream": boolean,
    "stream_options": _stream_options,
    "temperature": decimal(0, 2),
    "tool_choice": read_tool_choice,
    "tools": read_tools,
    "top_logprobs": integer(0, 20),
    "top_p": _top_p,
}

# OpenAI's, and without a meaning here, or harmless hints; or what only a hosted service has.
WITHOUT_EFFECT: dict[str, Check] = {
    "audio": refused("The models of this server answer in text. Leave it out."),
    "function_call": refused("It is deprecated. Use 'tool_choice' instead."),
    "functions": refused("It is deprecated. Use 'tools' instead."),
    "metadata": _metadata,
    "modalities": _modalities,
    "moderation": refused("There is no moderation model here. Leave it out."),
    "prediction": an_object,
    "prompt_cache_key": string,
    "prompt_cache_options": an_object,
    "prompt_cache_retention": string,
    "safety_identifier": string,
    "service_tier": only(("auto", "default"), "there is one tier here."),
    "store": _store,
    "user": string,
    "verbosity": only(("medium",), "the models of this server have one verbosity."),
    "web_search_options": refused("There is no web search here. Leave it out."),
}
KNOWN = frozenset({"model", "messages", *PASSED_ON, *WITHOUT_EFFECT})
