"""Whatever goes wrong behind a route → an answer in OpenAI's envelope: the edge of a request."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from server.db.failures import describe_failure
from server.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge, Unauthenticated
from server.idempotency.once import Once
from server.request_ids import server_fault
from server.request_validation import NOT_JSON, describe

_LOG = logging.getLogger("tunesmith.api")


def answer_errors(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _render)
    app.add_exception_handler(RequestValidationError, _render_finding)
    app.add_exception_handler(HTTPException, _render_http_exception)
    app.add_exception_handler(DBAPIError, _render_database_failure)
    app.add_exception_handler(Exception, _render_fault)


async def _render(_request: Request, error: Any) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers())


async def _render_finding(request: Request, error: Any) -> JSONResponse:
    return await _render_unless_unknown(request, describe(error.errors()))


async def _render_http_exception(request: Request, error: Any) -> JSONResponse:
    """What Starlette and FastAPI raise by themselves, in OpenAI's words."""
    match error.status_code:
        case 404:
            return await _render(request, NotFound(f"Invalid URL ({request.method} {request.url.path})"))
        case 405:
            refused = MethodNotAllowed(f"Not allowed to {request.method} on {request.url.path}.")
            return JSONResponse(refused.body(), refused.status, {"allow": ", ".join(_allowed_methods(request))})
        case 413:
            return await _render_unless_unknown(request, PayloadTooLarge("The body of your request is too large."))
        case _:
            return await _render_unless_unknown(request, InvalidRequest(NOT_JSON))


async def _render_unless_unknown(request: Request, error: ApiError) -> JSONResponse:
    """FastAPI reads a body before it asks who sends it; nobody without a key is told what is wrong with it."""
    try:
        await run_in_threadpool(request.app.state.authenticator.authenticate, request.scope["headers"])
    except Unauthenticated as refusal:
        error = refusal
    return await _render(request, error)


async def _render_database_failure(request: Request, error: Any) -> JSONResponse:
    described = describe_failure(error)
    if described is None:
        raise error
    _LOG.error("request %s failed: %s", request.state.request_id, described.message)
    return await _render(request, described)


async def _render_fault(request: Request, _error: Any) -> JSONResponse:
    """The outermost layer logs the exception: Starlette raises it again after this answer."""
    fault: ApiError = server_fault(request.state.request_id)
    once: Once | None = getattr(request.state, "once", None)
    if once is not None and await run_in_threadpool(once.remember_fault, fault):
        fault.should_retry = False
    return await _render(request, fault)


def _allowed_methods(request: Request) -> list[str]:
    """Of every route of the path: Starlette names those of the first alone. Where one has just this path, of those."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    exact = [route for route in matching if route.path == request.scope["path"]]
    return sorted({method for route in exact or matching for method in route.methods or ()})
