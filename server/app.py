"""The API as one ASGI application: routers, layers, error handlers — wiring only."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from server import health
from server.auth.authenticator import Authenticator
from server.bootstrap import Services, tidy_up
from server.chat.relay import PATH as CHAT_PATH
from server.chat.relay import ChatRelay
from server.db.failures import describe_failure
from server.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge, Unauthenticated
from server.files import routes as files
from server.fine_tuning import routes as fine_tuning
from server.idempotency.once import Once
from server.idempotency.running import RunningKeys
from server.limits import JsonBodies
from server.models import routes as models
from server.models.resolving import find_servable
from server.request_ids import RequestIds, server_fault
from server.request_validation import NOT_JSON, describe

_LOG = logging.getLogger("tunesmith.api")
_STREAMED_UPLOADS = frozenset({("POST", "/v1/files")})


def create_app(services: Services) -> ASGIApp:
    """Build the public API: chat as a raw ASGI app before FastAPI's router, everything else behind it."""
    chat = ChatRelay(
        authenticate=services.authenticator.authenticate,
        find_model=partial(find_servable, services.database, services.base_models, services.settings.adapters),
        engines=services.engines,
        base_models=services.base_models,
        max_body_bytes=services.settings.max_chat_body_bytes,
    )
    rest = JsonBodies(create_rest_app(services), streaming=_STREAMED_UPLOADS)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        is_chat = scope["type"] == "http" and scope["path"] == CHAT_PATH
        await (chat if is_chat else rest)(scope, receive, send)

    return RequestIds(front, organization=services.authenticator.default.slug)


def create_rest_app(services: Services) -> FastAPI:
    """Build everything but chat."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(tidy_up, services)
        yield
        for engine in services.engines.values():
            await engine.close()

    app = FastAPI(
        title="Tunesmith",
        version="1",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _share(app, services)
    for module in (files, fine_tuning, models, health):
        app.include_router(module.router)
    app.add_exception_handler(ApiError, _render_api_error)
    app.add_exception_handler(RequestValidationError, _render_finding)
    app.add_exception_handler(HTTPException, _render_http_exception)
    app.add_exception_handler(DBAPIError, _render_database_failure)
    app.add_exception_handler(Exception, _render_fault)
    return app


def _share(app: FastAPI, services: Services) -> None:
    """What routes and dependencies reach as `request.app.state`."""
    authenticator: Authenticator = services.authenticator
    app.state.authenticator = authenticator
    app.state.settings = services.settings
    app.state.database = services.database
    app.state.blobs = services.blobs
    app.state.base_models = services.base_models
    app.state.engines = services.engines
    app.state.running_keys = RunningKeys()


async def _render_api_error(_request: Request, error: Any) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers())


async def _render_finding(request: Request, error: Any) -> JSONResponse:
    return await _render_unless_unknown(request, describe(error.errors()))


async def _render_http_exception(request: Request, error: Any) -> JSONResponse:
    described = _api_error(request, error.status_code)
    of_the_body = error.status_code in (400, 413)
    render = _render_unless_unknown if of_the_body else _render_api_error
    response = await render(request, described)
    response.headers.update(error.headers or {})
    return response


async def _render_unless_unknown(request: Request, error: ApiError) -> JSONResponse:
    """FastAPI reads a body before it asks who sends it; nobody without a key is told what is wrong with it."""
    try:
        await run_in_threadpool(request.app.state.authenticator.authenticate, request.scope["headers"])
    except Unauthenticated as refusal:
        error = refusal
    return await _render_api_error(request, error)


async def _render_database_failure(request: Request, error: Any) -> JSONResponse:
    described = describe_failure(error)
    if described is None:
        raise error
    _LOG.error("request %s failed: %s", request.state.request_id, described.message)
    return await _render_api_error(request, described)


async def _render_fault(request: Request, _error: Any) -> JSONResponse:
    """The outermost layer logs the exception: Starlette raises it again after this answer."""
    fault: ApiError = server_fault(request.state.request_id)
    once: Once | None = getattr(request.state, "once", None)
    if once is not None and await run_in_threadpool(once.remember_fault, fault):
        fault.should_retry = False
    return await _render_api_error(request, fault)


def _api_error(request: Request, status: int) -> ApiError:
    """What Starlette and FastAPI raise by themselves, in OpenAI's words."""
    match status:
        case 404:
            return NotFound(f"Invalid URL ({request.method} {request.url.path})")
        case 405:
            return MethodNotAllowed(f"Not allowed to {request.method} on {request.url.path}.")
        case 413:
            return PayloadTooLarge("The body of your request is too large.")
        case _:
            return InvalidRequest(NOT_JSON)
