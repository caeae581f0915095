"""The body of a relayed request: JSON with a model's name, and OpenAI's fields decided one by one (pure)."""

from collections.abc import Mapping
from typing import Any

import orjson

from server.errors import InvalidRequest
from server.relay.fields import Check, JsonObject, unrecognized, wrong_type
from server.request_validation import NOT_JSON

MAX_MODEL_NAME = 512  # characters
_NO_MODEL = (
    "you must provide a model parameter. If it is a fine-tuning job's 'fine_tuned_model': that is null until the job "
    "has succeeded; wait for the job to finish, then retrieve it again."
)


def read_object(raw: bytes) -> JsonObject:
    """Raises: InvalidRequest: it is no JSON object."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest(NOT_JSON) from None
    if not isinstance(body, dict):
        raise InvalidRequest(NOT_JSON.replace("was not valid JSON", "was not a JSON object"))
    return body


def read_model(body: JsonObject) -> str:
    """Raises: InvalidRequest: no model is named, or by no name."""
    model = body.get("model")
    if model is None:
        raise InvalidRequest(_NO_MODEL, param="model", code="missing_required_parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if not model:
        raise InvalidRequest(_NO_MODEL, param="model", code="missing_required_parameter")
    if len(model) > MAX_MODEL_NAME:
        raise InvalidRequest(
            f"Invalid 'model': string too long. Expected a string with maximum length {MAX_MODEL_NAME}, "
            f"but got a string with length {len(model)} instead.",
            param="model",
            code="string_above_max_length",
        )
    return model


def refuse_unknown(body: JsonObject, known: frozenset[str]) -> None:
    """Refuse by name whatever is not OpenAI's."""
    if not body.keys() <= known:
        raise unrecognized([name for name in body if name not in known])


def decide_fields(
    body: JsonObject, passed_on: Mapping[str, Check], without_effect: Mapping[str, Check]
) -> dict[str, Any]:
    """Check each field that has a check; give those for the engine, as it is to see them."""
    fields: JsonObject = {}
    for name, given in body.items():
        if given is None:
            continue  # OpenAI takes an explicit null for an absent field
        if (check := passed_on.get(name)) is not None:
            if (value := check(given, name)) is not None:
                fields[name] = value
        elif (check := without_effect.get(name)) is not None:
            check(given, name)
    return fields
