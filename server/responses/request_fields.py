"""OpenAI's fields of a response's request, one by one: for the engine, shown again, or refused with a reason (pure)."""

from typing import Any

from server.chat.request_fields import PASSED_ON
from server.chat.tools import CHOICE, MAX_TOOLS, check_function, read_choice, read_function, read_json_schema
from server.errors import InvalidRequest
from server.relay.fields import (
    Check,
    JsonObject,
    an_array,
    an_object,
    boolean,
    integer,
    known_keys,
    one_of,
    only,
    present,
    refused,
    required,
    string,
)

LOGPROBS = "message.output_text.logprobs"
MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512  # of metadata
_INCLUDABLE = one_of(
    LOGPROBS,
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
)
_SUMMARY = one_of("auto", "concise", "detailed")
_ONLY_HOSTED = "Only OpenAI's own models have it. Leave it out."
_TOOL_KEYS = frozenset({"type", "name", "description", "parameters", "strict"})
_HOSTED_TOOL_KEYS: dict[str, Check] = dict.fromkeys(
    ("allowed_callers", "defer_loading", "output_schema"), refused(_ONLY_HOSTED)
)
_VERBOSITY = only(("medium",), "the models of this server have one verbosity.")


def _tools(value: object, at: str) -> list[JsonObject]:
    if value == []:
        return []  # OpenAI takes none for an absent field here
    return [_tool(tool, f"{at}[{i}]") for i, tool in enumerate(an_array(value, at, "objects", MAX_TOOLS))]


def _tool(value: object, at: str) -> JsonObject:
    tool = present(an_object(value, at))
    required(tool, at, "type")
    check_function(tool["type"], f"{at}.type")
    for name in tool.keys() & _HOSTED_TOOL_KEYS:
        _HOSTED_TOOL_KEYS[name](tool[name], f"{at}.{name}")
    known_keys(tool, at, _TOOL_KEYS)
    function = read_function({name: entry for name, entry in tool.items() if name != "type"}, at)
    return {"type": "function", "description": None, "parameters": None, "strict": None, **function}


def _tool_choice(value: object, at: str) -> str | JsonObject:
    if isinstance(value, str):
        return str(CHOICE(value, at))
    choice = read_choice(value, at)
    required(choice, at, "name")
    known_keys(choice, at, frozenset({"type", "name"}))
    return {"type": "function", "name": string(choice["name"], f"{at}.name")}


def _text(value: object, at: str) -> JsonObject:
    text = present(an_object(value, at))
    known_keys(text, at, frozenset({"format", "verbosity"}))
    if "verbosity" in text:
        _VERBOSITY(text["verbosity"], f"{at}.verbosity")
    return {"format": _format(text.get("format", {"type": "text"}), f"{at}.format"), "verbosity": "medium"}


def _format(value: object, at: str) -> JsonObject:
    wanted = present(an_object(value, at))
    required(wanted, at, "type")
    kind = one_of("text", "json_object", "json_schema")(wanted["type"], f"{at}.type")
    if kind != "json_schema":
        known_keys(wanted, at, frozenset({"type"}))
        return {"type": kind}
    named = read_json_schema({name: entry for name, entry in wanted.items() if name != "type"}, at)
    return {"type": kind, "description": None, "strict": None, **named}


def _reasoning(value: object, at: str) -> JsonObject:
    reasoning = present(an_object(value, at))
    known_keys(reasoning, at, frozenset({"effort", "summary", "generate_summary"}))
    if "effort" in reasoning:
        PASSED_ON["reasoning_effort"](reasoning["effort"], f"{at}.effort")
    for name in reasoning.keys() & {"summary", "generate_summary"}:
        _SUMMARY(reasoning[name], f"{at}.{name}")
    return {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")}


def _metadata(value: object, at: str) -> JsonObject:
    pairs = an_object(value, at)
    if len(pairs) > MAX_PAIRS:
        raise InvalidRequest(
            f"Invalid '{at}': too many properties. Expected an object with at most {MAX_PAIRS} properties, "
            f"but got {len(pairs)} instead.",
            param=at,
            code="object_above_max_properties",
        )
    for name, entry in pairs.items():
        if len(name) > _MAX_KEY or len(string(entry, f"{at}.{name[:_MAX_KEY]}")) > _MAX_VALUE:
            raise InvalidRequest(
                f"Invalid '{at}': keys are at most {_MAX_KEY} characters long, and values {_MAX_VALUE}.",
                param=at,
                code="string_above_max_length",
            )
    return pairs


def include(value: object, at: str) -> list[str]:
    """Check what is to be included: all but log-probabilities is of things that there are none of here."""
    if value == []:
        return []
    return [_INCLUDABLE(name, f"{at}[{i}]") for i, name in enumerate(an_array(value, at, "strings", MAX_PAIRS))]


def _stream_options(value: object, at: str) -> None:
    options = present(an_object(value, at))
    known_keys(options, at, frozenset({"include_obfuscation"}))
    for name, flag in options.items():
        boolean(flag, f"{at}.{name}")


def _id(value: object, at: str) -> str:
    if not string(value, at):
        raise InvalidRequest(f"Invalid '{at}': empty string.", param=at, code="empty_string")
    return str(value)


# Shown again in the response; most of them are for the engine, too.
SHOWN: dict[str, Check] = {
    "background": boolean,
    "instructions": string,
    "max_output_tokens": integer(1, 2**31 - 1),
    "max_tool_calls": integer(1, 2**31 - 1),  # of OpenAI's own tools, so without effect
    "metadata": _metadata,
    "parallel_tool_calls": boolean,
    "previous_response_id": _id,
    "prompt_cache_key": string,
    "prompt_cache_retention": one_of("in_memory", "24h"),
    "reasoning": _reasoning,
    "safety_identifier": string,
    "store": boolean,
    "temperature": PASSED_ON["temperature"],
    "text": _text,
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_logprobs": integer(0, 20),
    "top_p": lambda value, at: PASSED_ON["top_p"](value, at) and value,
    "truncation": only(("disabled",), "an input that is too long is refused, not cut."),
    "user": string,
}
NOT_SHOWN: dict[str, Check] = {
    "access_programs": refused(_ONLY_HOSTED),
    "background_options": refused(_ONLY_HOSTED),
    "context_management": refused("An input that is too long is refused, not compacted. Leave it out."),
    "conversation": refused("Conversations are not kept here. Use 'previous_response_id' instead."),
    "image": refused("The models of this server answer in text. Leave it out."),
    "include": include,
    "moderation": refused("Responses are not moderated here. Leave it out."),
    "prompt": refused("Prompt templates are not kept here. Send 'instructions' and 'input' instead."),
    "prompt_cache_options": an_object,
    "service_tier": only(("auto", "default"), "there is one tier here."),
    "stream": boolean,
    "stream_options": _stream_options,
}
KNOWN = frozenset({"model", "input", *SHOWN, *NOT_SHOWN})
DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
