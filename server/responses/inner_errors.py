"""Errors as a request from within is answered them (pure)."""

import orjson

from server.errors import ApiError, InvalidRequest, ServerFault, TooManyRequests
from server.relay.inner import InnerAnswer

_PASSING = (429, 503)
_LASTING_CODE = "model_not_servable"


def is_passing(answer: InnerAnswer) -> bool:
    """Say whether the same request may be answered later."""
    return answer.status in _PASSING and read_error(answer).code != _LASTING_CODE


def read_error(answer: InnerAnswer) -> ApiError:
    """Read the error that an answer is."""
    said = orjson.loads(answer.body)["error"]
    kind = TooManyRequests if answer.status == 429 else ServerFault if answer.status >= 500 else InvalidRequest
    return kind(said["message"], param=said["param"], code=said["code"])
