"""Checks of single request fields, in OpenAI's words (pure). No message repeats what a client wrote."""

from collections.abc import Callable, Mapping
from typing import Any

from server.errors import InvalidRequest

JsonObject = dict[str, Any]
Check = Callable[[object, str], Any]  # (value, its path) → the value for the engine, or InvalidRequest


def decimal(low: float, high: float) -> Check:
    def check(value: object, at: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(at, "a decimal", value)
        _check_range(value, at, low, high, kind="decimal")
        return value

    return check


def integer(low: int, high: int) -> Check:
    def check(value: object, at: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(at, "an integer", value)
        _check_range(value, at, low, high, kind="integer")
        return value

    return check


def boolean(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(at, "a boolean", value)
    return value


def string(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(at, "a string", value)
    return value


def one_of(*words: str) -> Check:
    def check(value: object, at: str) -> str:
        if string(value, at) not in words:
            raise InvalidRequest(
                f"Invalid value for '{at}'. Supported values are: {_listed(words)}.", param=at, code="invalid_value"
            )
        return str(value)

    return check


def only(words: tuple[str, ...], reason: str) -> Check:
    """OpenAI's values are known, but of them only these work here, for a reason."""

    def check(value: object, at: str) -> str:
        if string(value, at) not in words:
            raise InvalidRequest(
                f"Unsupported value for '{at}': {reason} Supported values are: {_listed(words)}.",
                param=at,
                code="unsupported_value",
            )
        return str(value)

    return check


def refused(reason: str) -> Check:
    """The field is OpenAI's, but nothing here can do what it asks."""

    def check(_value: object, at: str) -> Any:
        raise InvalidRequest(f"Unsupported parameter: '{at}'. {reason}", param=at, code="unsupported_parameter")

    return check


def an_object(value: object, at: str) -> JsonObject:
    if not isinstance(value, dict):
        raise wrong_type(at, "an object", value)
    return value


def an_array(value: object, at: str, of: str, longest: int) -> list[Any]:
    """Check a list of at least one entry; `of` names what it holds ("objects")."""
    if not isinstance(value, list):
        raise wrong_type(at, f"an array of {of}", value)
    if not value:
        raise InvalidRequest(
            f"Invalid '{at}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=at,
            code="empty_array",
        )
    if len(value) > longest:
        raise InvalidRequest(
            f"Invalid '{at}': array too long. Expected an array with maximum length {longest}, "
            f"but got an array with length {len(value)} instead.",
            param=at,
            code="array_above_max_length",
        )
    return value


def present(value: Mapping[str, Any]) -> JsonObject:
    """Leave out what is null: OpenAI takes an explicit null for an absent field."""
    return {name: entry for name, entry in value.items() if entry is not None}


def known_keys(value: JsonObject, at: str, known: frozenset[str]) -> None:
    """Refuse by name whatever is not OpenAI's: an engine's private switches are not the client's."""
    for name in value:
        if name not in known:
            path = f"{at}.{_shown(name)}"
            raise InvalidRequest(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def required(value: JsonObject, at: str, *names: str) -> None:
    for name in names:
        if value.get(name) is None:
            raise missing(f"{at}.{name}")


def missing(at: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{at}'.", param=at, code="missing_required_parameter")


def wrong_type(at: str, expected: str, value: object) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid type for '{at}': expected {expected}, but got {_kind(value)} instead.", param=at, code="invalid_type"
    )


def unrecognized(names: list[str]) -> InvalidRequest:
    """OpenAI's error for fields of a request that it does not know."""
    shown = [_shown(name) for name in names]
    return InvalidRequest(
        f"Unrecognized request argument{'s' if len(shown) > 1 else ''} supplied: {', '.join(shown)}",
        param=shown[0],
        code="unknown_parameter",
    )


def _check_range(value: float, at: str, low: float, high: float, *, kind: str) -> None:
    if low <= value <= high:
        return
    side, sign, bound = ("below", ">=", low) if value < low else ("above", "<=", high)
    limit = "minimum" if value < low else "maximum"
    raise InvalidRequest(
        f"Invalid '{at}': {kind} {side} {limit} value. Expected a value {sign} {bound}, but got {value} instead.",
        param=at,
        code=f"{kind}_{side}_{limit[:3]}_value",
    )


def _listed(words: tuple[str, ...]) -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _shown(name: str) -> str:
    """A field's name as it may be shown: names are the client's code, but a long one may be text."""
    return name if len(name) <= 64 and name.isprintable() else "(a long name)"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
