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
_NOT_STORED = "Chat completions are not stored here. Leave out 'store', or send false."


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
    "store": _store,
    "user": string,
    "verbosity": only(("medium",), "the models of this server have one verbosity."),
    "web_search_options": refused("There is no web search here. Leave it out."),
}
KNOWN = frozenset({"model", "messages", *PASSED_ON, *WITHOUT_EFFECT})
