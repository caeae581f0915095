"""Tools, the choice among them, and the form of the answer: what steers an answer's structure (pure)."""

import re
from typing import Any

import orjson

from server.errors import InvalidRequest
from server.relay.fields import (
    JsonObject,
    an_array,
    an_object,
    boolean,
    known_keys,
    one_of,
    present,
    required,
    string,
)

MAX_TOOLS = 128
_MAX_SCHEMA_BYTES = 256 * 1024
_MAX_SCHEMA_DEPTH = 64
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
CHOICE = one_of("none", "auto", "required")
_ONLY_FUNCTIONS = "The models of this server call functions; describe the tool as one, of type 'function'."


def read_tools(value: object, at: str) -> list[JsonObject]:
    """Check the tools of a request; give them for the engine."""
    return [_read_tool(tool, f"{at}[{i}]") for i, tool in enumerate(an_array(value, at, "objects", MAX_TOOLS))]


def read_tool_choice(value: object, at: str) -> str | JsonObject:
    if isinstance(value, str):
        return str(CHOICE(value, at))
    choice = read_choice(value, at)
    required(choice, at, "function")
    known_keys(choice, at, frozenset({"type", "function"}))
    function = an_object(choice["function"], f"{at}.function")
    required(function, f"{at}.function", "name")
    known_keys(function, f"{at}.function", frozenset({"name"}))
    return {"type": "function", "function": {"name": string(function["name"], f"{at}.function.name")}}


def read_choice(value: object, at: str) -> JsonObject:
    """Check that it is an object of type `function`, which is all that a choice of one can be here."""
    choice = present(an_object(value, at))
    required(choice, at, "type")
    if string(choice["type"], f"{at}.type") == "allowed_tools":
        raise InvalidRequest(
            f"Unsupported value for '{at}.type': 'allowed_tools'. Send in 'tools' only those the model may call.",
            param=f"{at}.type",
            code="unsupported_value",
        )
    check_function(choice["type"], f"{at}.type")
    return choice


def check_tool_use(body: JsonObject) -> None:
    """Check what the fields about tools say of each other."""
    tools = body.get("tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        if tools is None and body.get(name) not in (None, "none"):
            raise InvalidRequest(
                f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.",
                param=name,
                code="invalid_value",
            )
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["function"]["name"] not in {t["function"]["name"] for t in tools or ()}:
        raise InvalidRequest(
            "Invalid value for 'tool_choice': the function it names is not among 'tools'.",
            param="tool_choice",
            code="invalid_value",
        )


def read_response_format(value: object, at: str) -> JsonObject | None:
    """Check the form of the answer; None for plain text."""
    wanted = present(an_object(value, at))
    required(wanted, at, "type")
    kind = one_of("text", "json_object", "json_schema")(wanted["type"], f"{at}.type")
    known_keys(wanted, at, frozenset({"type", "json_schema"} if kind == "json_schema" else {"type"}))
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    required(wanted, at, "json_schema")
    schema = read_json_schema(wanted["json_schema"], f"{at}.json_schema")
    return {"type": kind, "json_schema": schema}


def read_json_schema(value: object, at: str) -> JsonObject:
    """Check a named schema that an answer is to follow."""
    given = present(an_object(value, at))
    required(given, at, "name", "schema")
    known_keys(given, at, frozenset({"name", "schema", "strict", "description"}))
    _check_name(given["name"], f"{at}.name")
    _check_schema(given["schema"], f"{at}.schema")
    if "strict" in given:
        boolean(given["strict"], f"{at}.strict")
    if "description" in given:
        string(given["description"], f"{at}.description")
    return given


def _read_tool(value: object, at: str) -> JsonObject:
    tool = present(an_object(value, at))
    required(tool, at, "type")
    check_function(tool["type"], f"{at}.type")
    required(tool, at, "function")
    known_keys(tool, at, frozenset({"type", "function"}))
    return {"type": "function", "function": read_function(tool["function"], f"{at}.function")}


def read_function(value: object, at: str) -> JsonObject:
    """Check the description of a function; give it without what is null."""
    function = present(an_object(value, at))
    required(function, at, "name")
    known_keys(function, at, frozenset({"name", "description", "parameters", "strict"}))
    _check_name(function["name"], f"{at}.name")
    if "description" in function:
        string(function["description"], f"{at}.description")
    if "parameters" in function:
        _check_schema(function["parameters"], f"{at}.parameters")
    if "strict" in function:
        boolean(function["strict"], f"{at}.strict")
    return function


def check_function(kind: object, at: str) -> None:
    """Check the type of a tool."""
    if string(kind, at) != "function":
        raise InvalidRequest(f"Unsupported value for '{at}'. {_ONLY_FUNCTIONS}", param=at, code="unsupported_value")


def _check_name(value: object, at: str) -> None:
    if not _NAME.fullmatch(string(value, at)):
        raise InvalidRequest(
            f"Invalid '{at}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$', at most 64 characters long.",
            param=at,
            code="invalid_value",
        )


def _check_schema(value: object, at: str) -> None:
    """Bound what the engine compiles into a grammar."""
    schema = an_object(value, at)
    if _is_deeper(schema, _MAX_SCHEMA_DEPTH) or len(orjson.dumps(schema)) > _MAX_SCHEMA_BYTES:
        raise InvalidRequest(
            f"Invalid '{at}': schema too large. It may be {_MAX_SCHEMA_BYTES} bytes long and {_MAX_SCHEMA_DEPTH} "
            "levels deep.",
            param=at,
            code="schema_too_large",
        )


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in level if isinstance(child, dict | list)]
        if not level:
            return False
    return True
