"""POST /v1/chat/completions as a raw ASGI app: authenticate, resolve, forward, give the answer in OpenAI's form.

It stands before FastAPI's router: what a framework does for each request costs more than all that is done here.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

from inference.engine import (
    AdapterRef,
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
    InferenceEngine,
)
from server.base_models import BaseModelEntry, BaseModels
from server.chat.answer import AnswerRefused, AnswerUnusable, Naming, StreamRewriter, rewrite_answer
from server.chat.engine_errors import broken_off, describe_refusal, not_ready, not_servable, unknown_model
from server.chat.request import ChatRequest, read_request
from server.chat.served_by import SERVED_BY, served_by
from server.errors import ApiError, InvalidRequest, PayloadTooLarge
from server.models.resolving import Servable

PATH = "/v1/chat/completions"
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Caller(Protocol):
    """Who asks."""

    @property
    def project_id(self) -> str: ...

    @property
    def slug(self) -> str: ...


class MethodNotAllowed(ApiError):
    status = 405

    def headers(self) -> dict[str, str]:
        return {"allow": "POST"}


class _ClientGone(Exception):
    """The client hung up; nobody reads an answer."""


@dataclass(frozen=True)
class _Target:
    """Where a request goes."""

    engine: InferenceEngine
    base: BaseModelEntry
    adapter: AdapterRef | None
    naming: Naming


@dataclass(frozen=True)
class ChatRelay:
    """The ASGI app. `authenticate` and `find_model` may block: they run in threads."""

    authenticate: Callable[[Iterable[tuple[bytes, bytes]]], Caller]  # of the request's headers; raises ApiError
    find_model: Callable[[str, str], Servable | None]  # (project id, name); None: nothing the project may use
    engines: Mapping[str, InferenceEngine]  # by the base model's own name
    base_models: BaseModels
    max_body_bytes: int
    salt_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("Only POST requests are accepted.", code="method_not_supported")
            caller = await asyncio.to_thread(self.authenticate, scope["headers"])
            scope.setdefault("state", {})["organization"] = caller.slug
            request = read_request(await self._read_body(receive))
            target = await self._resolve(request, caller.project_id)
            await _unless_gone(receive, self._answer(request, target, caller.project_id, send))
        except ApiError as error:
            await _send_error(send, error)
        except _ClientGone:
            return

    async def _read_body(self, receive: Receive) -> bytes:
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_body_bytes:
                raise PayloadTooLarge(f"The request is too large: at most {self.max_body_bytes} bytes are taken.")
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def _resolve(self, request: ChatRequest, project_id: str) -> _Target:
        adapter: AdapterRef | None = None
        base = self.base_models.find(request.model)
        if base is None and (found := await asyncio.to_thread(self.find_model, project_id, request.model)):
            base, adapter = self.base_models.find(found.base_model), found.adapter
        if base is None:
            raise unknown_model(request.model)
        if request.uses_tools and base.tool_call_parser is None:
            raise InvalidRequest(
                f"Invalid value for 'tools': the model '{request.model}' cannot call tools. Its base model has no "
                "tool_call_parser in the server's settings.",
                param="tools",
                code="unsupported_value",
            )
        engine = self.engines.get(base.name)
        if engine is None:
            raise not_ready()
        engine_name = base.name if adapter is None else adapter.name
        return _Target(engine, base, adapter, Naming(asked=request.model, engine=engine_name))

    async def _answer(self, request: ChatRequest, target: _Target, project_id: str, send: Send) -> None:
        body = request.body_for(target.naming.engine, self._cache_salt(project_id))
        forwarded = EngineRequest(body, stream=request.stream)
        try:
            if request.stream:
                await _send_stream(send, forwarded, target, wants_usage=request.wants_usage)
            else:
                await _send_whole(send, forwarded, target)
        except EngineRefusal as refusal:
            raise describe_refusal(refusal, target.base) from refusal
        except AnswerRefused as refused:
            raise describe_refusal(EngineRefusal(refused.status, refused.body), target.base) from refused
        except EngineUnavailable as error:
            raise not_ready(error) from error
        except AnswerUnusable as error:
            raise broken_off() from error
        except AdapterRejected as error:
            raise await self._gone_or_broken(request.model, project_id, error) from error

    async def _gone_or_broken(self, name: str, project_id: str, rejected: AdapterRejected) -> ApiError:
        """A model may be deleted while it is being loaded."""
        still_there = await asyncio.to_thread(self.find_model, project_id, name)
        return not_servable(name, rejected) if still_there is not None else unknown_model(name)

    def _cache_salt(self, project_id: str) -> str:
        """Keep the prefix caches of projects apart; `s1:` begins no adapter's name, which the engine hashes alike."""
        return "s1:" + hmac.new(self.salt_key, project_id.encode(), hashlib.sha256).hexdigest()


async def _send_whole(send: Send, forwarded: EngineRequest, target: _Target) -> None:
    async with aclosing(target.engine.chat(forwarded, target.adapter)) as chunks:
        raw = b"".join([chunk async for chunk in chunks])
    body = rewrite_answer(raw, target.naming)
    await _send_json(send, 200, body, {SERVED_BY: served_by(target.adapter)})


async def _send_stream(send: Send, forwarded: EngineRequest, target: _Target, *, wants_usage: bool) -> None:
    """Send a stream. Once it has begun, a fault ends it with an error event, and never with `[DONE]`."""
    rewriter = StreamRewriter(target.naming, wants_usage=wants_usage)
    headers = [*_STREAM_HEADERS, (SERVED_BY.encode(), served_by(target.adapter).encode())]
    has_begun = False
    try:
        async with aclosing(target.engine.chat(forwarded, target.adapter)) as chunks:
            async for chunk in chunks:
                rewritten = rewriter.feed(chunk)
                if not has_begun:
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    has_begun = True
                if rewritten:
                    await send({"type": "http.response.body", "body": rewritten, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except (EngineUnavailable, AnswerUnusable):
        if not has_begun:
            raise
        event = b"data: " + orjson.dumps(broken_off().body()) + b"\n\n"
        await send({"type": "http.response.body", "body": event})


async def _unless_gone(receive: Receive, answer: Awaitable[None]) -> None:
    """Answer, unless the client hangs up meanwhile: then the work is cancelled, in the engine too."""
    answering = asyncio.ensure_future(answer)
    watching = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise _ClientGone
    finally:
        unfinished = [task for task in (answering, watching) if not task.done()]
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_error(send: Send, error: ApiError) -> None:
    await _send_json(send, error.status, orjson.dumps(error.body()), error.headers())


async def _send_json(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    fields += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
