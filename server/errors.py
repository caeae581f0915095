"""The errors clients see, and OpenAI's form of them.

ApiError
├── InvalidRequest      400
├── Unauthenticated     401
├── Forbidden           403
├── NotFound            404
├── MethodNotAllowed    405
├── Conflict            409
├── PayloadTooLarge     413
├── TooManyRequests     429
├── ServerFault         500
├── EngineUnavailable   503
├── ModelNotServable    503
├── Busy                503
└── InsufficientStorage 507
"""

from typing import Any, ClassVar

from pydantic import BaseModel

from server.vocabulary import ErrorType

_MOST_SHOWN = 2000  # characters


class ApiError(Exception):
    """An error with a place in OpenAI's envelope. `message` is shown: it holds no client's content and no path."""

    status: ClassVar[int]
    type: ClassVar[ErrorType] = ErrorType.INVALID_REQUEST
    retry_after_s: int | None = None  # sent as `retry-after`; the official clients obey it
    should_retry: bool | None = None  # sent as `x-should-retry`; None: clients go by the status

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = _sendable(message)
        self.param = None if param is None else _sendable(param)
        self.code = code

    def body(self) -> dict[str, Any]:
        """OpenAI: ErrorResponse."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        retry_after = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        should_retry = {} if self.should_retry is None else {"x-should-retry": str(self.should_retry).lower()}
        return retry_after | should_retry


class InvalidRequest(ApiError):
    status = 400


class Unauthenticated(ApiError):
    status = 401


class Forbidden(ApiError):
    status = 403


class NotFound(ApiError):
    status = 404


class MethodNotAllowed(ApiError):
    status = 405


class Conflict(ApiError):
    """Of a kind that sending again does not cure: the official clients would, three times."""

    status = 409
    should_retry = False


class PayloadTooLarge(ApiError):
    status = 413


class TooManyRequests(ApiError):
    status = 429


class ServerFault(ApiError):
    status = 500
    type = ErrorType.SERVER


class EngineUnavailable(ApiError):
    status = 503
    type = ErrorType.SERVER
    retry_after_s = 2


class ModelNotServable(ApiError):
    """Nothing is wrong with the engine, but with the model; no time cures it."""

    status = 503
    type = ErrorType.SERVER
    should_retry = False


class Busy(ApiError):
    """As much as the server does of this at once is going on."""

    status = 503
    type = ErrorType.SERVER
    retry_after_s = 5


class InsufficientStorage(ApiError):
    status = 507
    type = ErrorType.SERVER
    should_retry = False


class ErrorBody(BaseModel):
    """OpenAI: Error."""

    message: str
    type: ErrorType
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI: ErrorResponse."""

    error: ErrorBody


def responses(*errors: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """Declare the errors of a route, for its `responses=`. Those that every route has are included."""
    every: list[type[ApiError]] = [*errors, Unauthenticated]
    declared: dict[int | str, dict[str, Any]] = {
        error.status: {"model": ErrorResponse, "description": error.__name__} for error in every
    }
    return declared | {"default": {"model": ErrorResponse, "description": "Any other error"}}


def _sendable(text: str) -> str:
    """Cut what a client made too long to be shown; JSON can also name half a character, which no answer can hold."""
    shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    return shown.encode("utf-8", errors="replace").decode()
