"""Fields of a request that say how tokens are drawn, as chat and completions have them alike (pure)."""

from typing import Any

from server.errors import InvalidRequest
from server.relay.fields import JsonObject, an_array, an_object, boolean, decimal, known_keys, present, string

MAX_CHOICES = 128  # OpenAI's bound of `n`
_MAX_BIASES = 1024
_NEARLY_GREEDY = 0.01


def stop(value: object, at: str) -> list[str]:
    words = [value] if isinstance(value, str) else an_array(value, at, "strings", 4)
    for word in words:
        if not string(word, at):
            raise InvalidRequest(f"Invalid '{at}': empty string.", param=at, code="empty_string")
    return words


def top_p(value: object, at: str) -> float:
    """OpenAI takes 0 for the likeliest token alone; the engine wants more than 0, and means the same by very little."""
    return float(decimal(0, 1)(value, at)) or 1e-9


def logit_bias(value: object, at: str) -> JsonObject:
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


def stream_options(value: object, at: str) -> JsonObject:
    options = present(an_object(value, at))
    known_keys(options, at, frozenset({"include_usage", "include_obfuscation"}))
    for name, flag in options.items():
        boolean(flag, f"{at}.{name}")
    return {"include_usage": bool(options.get("include_usage"))}


def check_stream_options(fields: JsonObject) -> None:
    if "stream_options" in fields and not fields.get("stream"):
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
            code="invalid_value",
        )


def settle_greedy_choices(fields: dict[str, Any]) -> None:
    """The engine gives one greedy answer only; at this temperature each of several is the same one."""
    if fields.get("n", 1) > 1 and fields.get("temperature") == 0:
        fields["temperature"] = _NEARLY_GREEDY
