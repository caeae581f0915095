"""OpenAI's fields of a chat request, one by one: passed on, without effect, or refused with a reason (pure)."""

from server.chat.tools import read_response_format, read_tool_choice, read_tools
from server.errors import InvalidRequest
from server.relay.fields import (
    Check,
    an_array,
    an_object,
    boolean,
    decimal,
    integer,
    one_of,
    only,
    refused,
    string,
)
from server.relay.sampling_fields import MAX_CHOICES, logit_bias, stop, stream_options, top_p

_MAX_TOKENS = integer(1, 2**31 - 1)
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512  # of metadata; lengths in characters


def _metadata(value: object, at: str) -> None:
    pairs = an_object(value, at)
    if len(pairs) > _MAX_PAIRS:
        raise InvalidRequest(
            f"Invalid '{at}': too many properties. Expected an object with at most {_MAX_PAIRS} properties, but got an "
            f"object with {len(pairs)} properties instead.",
            param=at,
            code="object_above_max_properties",
        )
    for name, entry in pairs.items():
        if len(name) > _MAX_KEY:
            raise _too_long(f"{at}.{name[:_MAX_KEY]}", "key", _MAX_KEY, len(name))
        if len(string(entry, f"{at}.{name}")) > _MAX_VALUE:
            raise _too_long(f"{at}.{name}", "string", _MAX_VALUE, len(entry))


def _too_long(at: str, what: str, longest: int, length: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{at}': {what} too long. Expected a {what} with maximum length {longest}, but got a {what} with "
        f"length {length} instead.",
        param=at,
        code="string_above_max_length",
    )


def _modalities(value: object, at: str) -> None:
    if an_array(value, at, "strings", 2) != ["text"]:
        raise InvalidRequest(
            f"Unsupported value for '{at}': the models of this server answer in text. Send [\"text\"] or nothing.",
            param=at,
            code="unsupported_value",
        )


PASSED_ON: dict[str, Check] = {
    "frequency_penalty": decimal(-2, 2),
    "logit_bias": logit_bias,
    "logprobs": boolean,
    "max_completion_tokens": _MAX_TOKENS,
    "max_tokens": _MAX_TOKENS,
    "n": integer(1, MAX_CHOICES),
    "parallel_tool_calls": boolean,
    "presence_penalty": decimal(-2, 2),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "response_format": read_response_format,
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": stop,
    "stream": boolean,
    "stream_options": stream_options,
    "temperature": decimal(0, 2),
    "tool_choice": read_tool_choice,
    "tools": read_tools,
    "top_logprobs": integer(0, 20),
    "top_p": top_p,
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
    "store": boolean,
    "user": string,
    "verbosity": only(("medium",), "the models of this server have one verbosity."),
    "web_search_options": refused("There is no web search here. Leave it out."),
}
KNOWN = frozenset({"model", "messages", *PASSED_ON, *WITHOUT_EFFECT})
