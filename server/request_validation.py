"""pydantic's findings about a request, in OpenAI's words (pure)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import InvalidRequest

Finding = Mapping[str, Any]  # of pydantic: type, loc, input, ctx

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "a boolean",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "an array",
}
_SHOWN = 128  # characters of a name that a client made up
_UNION_MEMBERS = re.compile(r"(constrained-)?(int|float|str|bool)|literal\[.*|\[key\]", re.DOTALL)
NOT_JSON = (
    "We could not parse the JSON body of your request. "
    "(HINT: This likely means you aren't using your HTTP library correctly. "
    "The API expects a JSON payload, but what was sent was not valid JSON.)"
)


def describe(findings: Sequence[Finding]) -> InvalidRequest:
    """Make an error of the first finding; findings about the same place are members of one union."""
    first = findings[0]
    param = _param(first["loc"])
    others = [f for f in findings[1:] if _param(f["loc"]) == param]
    alternatives = [word for f in others if (word := _alternative(f)) is not None]
    kind = first["type"]
    if kind == "json_invalid":
        return InvalidRequest(NOT_JSON)
    if kind == "missing":
        return _missing(param)
    if kind == "extra_forbidden":
        return InvalidRequest(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if kind in ("literal_error", "enum"):
        return _unknown_word(first, param)
    if kind in _EXPECTED:
        return _wrong_type(first, param, alternatives)
    return _out_of_bounds(first, param)


def _param(loc: Sequence[str | int]) -> str | None:
    """("body", "hyperparameters", "n_epochs", "int") → "hyperparameters.n_epochs"; None for the body itself."""
    parts = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not _UNION_MEMBERS.fullmatch(part):
            text += f".{part[:_SHOWN]}" if text else part[:_SHOWN]
    return text or None


def _alternative(finding: Finding) -> str | None:
    """What another member of a union expects, if a type or a word is all that it does."""
    if finding["type"] == "literal_error":
        return str(finding["ctx"]["expected"])
    return _EXPECTED["bool_type"] if finding["type"] == "bool_type" else None


def _missing(param: str | None) -> InvalidRequest:
    if param is None:
        return InvalidRequest("Missing request body: a JSON object is expected.", code="missing_required_parameter")
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _wrong_type(finding: Finding, param: str | None, alternatives: list[str]) -> InvalidRequest:
    expected = " or ".join([_EXPECTED[finding["type"]], *alternatives])
    place = f"'{param}'" if param else "the request body"
    return InvalidRequest(
        f"Invalid type for {place}: expected {expected}, but got {_kind(finding['input'])} instead.",
        param=param,
        code="invalid_type",
    )


def _unknown_word(finding: Finding, param: str | None) -> InvalidRequest:
    value, expected = finding["input"], finding["ctx"]["expected"]
    if not isinstance(value, str):
        return InvalidRequest(
            f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead.",
            param=param,
            code="invalid_type",
        )
    return InvalidRequest(
        f"Invalid value: '{value[:64]}'. Supported values are: {expected}.",
        param=param,
        code="invalid_value",
    )


def _out_of_bounds(finding: Finding, param: str | None) -> InvalidRequest:
    context: Mapping[str, Any] = finding.get("ctx", {})
    value = finding["input"]
    match finding["type"]:
        case "less_than_equal" | "less_than":
            sign, bound = ("<=", context["le"]) if "le" in context else ("<", context["lt"])
            text = f"{_number(bound)} above maximum value. Expected a value {sign} {_shown(bound)}, but got {value}"
            code = f"{_number(bound)}_above_max_value"
        case "greater_than_equal" | "greater_than":
            sign, bound = (">=", context["ge"]) if "ge" in context else (">", context["gt"])
            text = f"{_number(bound)} below minimum value. Expected a value {sign} {_shown(bound)}, but got {value}"
            code = f"{_number(bound)}_below_min_value"
        case "string_too_long":
            text = f"string too long. Expected a string with maximum length {context['max_length']}"
            text, code = f"{text}, but got a string with length {len(value)}", "string_above_max_length"
        case "string_too_short":
            text = f"empty string. Expected a string with minimum length {context['min_length']}"
            text, code = f"{text}, but got a string with length {len(value)}", "empty_string"
        case "too_long":
            text = f"too many entries. Expected at most {context['max_length']}"
            text, code = f"{text}, but got {len(value)}", "above_max_length"
        case "string_pattern_mismatch":
            text = "string does not match pattern. Expected a string that matches the pattern"
            return InvalidRequest(
                f"Invalid '{param}': {text} '{context['pattern']}'.", param=param, code="invalid_value"
            )
        case _:
            return InvalidRequest(f"Invalid value for '{param}'.", param=param, code="invalid_value")
    return InvalidRequest(f"Invalid '{param}': {text} instead.", param=param, code=code)


def _number(bound: float) -> str:
    return "integer" if isinstance(bound, int) else "decimal"


def _shown(bound: float) -> str:
    """0.0 → 0, and 2147483647 with all its digits."""
    return str(int(bound)) if bound == int(bound) else str(bound)


def _kind(value: object) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal"),
        (str, "a string"),
        (Mapping, "an object"),
        ((list, tuple), "an array"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
