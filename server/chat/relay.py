"""POST /v1/chat/completions as a raw ASGI app: authenticate, resolve, forward, give the answer in OpenAI's form.

It stands before FastAPI's router: what a framework does for each request costs more than all that is done here.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from inference.engine import (
    AdapterRef,
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
    InferenceEngine,
)
from server.auth.authenticator import credentials_digest
from server.base_models import BaseModelEntry, BaseModels
from server.chat.accounts import Account, Admission, Caller, Header, OpenDoor
from server.chat.answer import AnswerRefused, AnswerUnusable, Naming
from server.chat.cache_salt import CacheSalts
from server.chat.engine_errors import broken_off, describe_refusal, not_ready, not_servable, unknown_model
from server.chat.hang_up import HangUps
from server.chat.request import ChatRequest, read_request
from server.chat.sending import send_error, send_stream, send_whole
from server.chat.served_by import SERVED_BY, served_by
from server.chat.stream import StreamRewriter
from server.db.remembered import Remembered
from server.errors import ApiError, InvalidRequest, PayloadTooLarge, Unauthenticated
from server.models.resolving import Servable

PATH = "/v1/chat/completions"


class MethodNotAllowed(ApiError):
    status = 405

    def headers(self) -> dict[str, str]:
        return {"allow": "POST"}


class _ClientGone(Exception):
    """The client hung up before its request was whole."""


@dataclass(frozen=True)
class _Target:
    """Where a request goes."""

    engine: InferenceEngine
    base: BaseModelEntry
    adapter: AdapterRef | None
    naming: Naming

    @property
    def headers(self) -> list[Header]:
        """Of its answers."""
        return [(SERVED_BY.encode(), served_by(self.adapter).encode())]


@dataclass(frozen=True)
class ChatRelay:
    """The ASGI app. `authenticate` and `find_model` may block: they run in threads, where their answer is not known."""

    authenticate: Callable[[Iterable[tuple[bytes, bytes]]], Caller]  # of the request's headers; raises ApiError
    find_model: Callable[[str, str], Servable | None]  # (project id, name); None: nothing the project may use
    version: Callable[[], int]  # of all that the two look at
    callers: Remembered[bytes, Caller]
    models: Remembered[tuple[str, str], Servable]
    engines: Mapping[str, InferenceEngine]  # by the base model's own name
    base_models: BaseModels
    salts: CacheSalts
    max_body_bytes: int
    admission: Admission = field(default_factory=OpenDoor)
    full_engines: Mapping[str, InferenceEngine] = field(default_factory=dict)  # by the full model's name
    hang_ups: HangUps = field(default_factory=HangUps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Sequence[Header] = ()
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("Only POST requests are accepted.", code="method_not_supported")
            version = self.version()
            caller = await self._find_caller(scope["headers"], version)
            scope.setdefault("state", {})["organization"] = caller.slug
            request = read_request(await self._read_body(receive))
            if (now := self.version()) != version:  # a body may take its time, and a key be revoked meanwhile
                caller = await self._find_caller(scope["headers"], now)
            target = await self._resolve(request, caller.project_id, now)
            with self.hang_ups.until(receive):
                account = await self.admission.admit(caller, request, target.base.name, scope["headers"])
                headers = account.headers
                try:
                    await self._answer(request, target, caller, account, send)
                except ApiError as error:
                    account.refused(error.status)
                    raise
                finally:
                    account.close()
        except ApiError as error:
            await send_error(send, error, headers)
        except _ClientGone:
            return

    async def _find_caller(self, headers: Iterable[tuple[bytes, bytes]], version: int) -> Caller:
        caller = await self.callers.find(credentials_digest(headers), version, lambda: self.authenticate(headers))
        if caller is None:
            raise Unauthenticated("No caller was found.")
        return caller

    async def _find_model(self, project_id: str, name: str, version: int) -> Servable | None:
        return await self.models.find((project_id, name), version, lambda: self.find_model(project_id, name))

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

    async def _resolve(self, request: ChatRequest, project_id: str, version: int) -> _Target:
        adapter: AdapterRef | None = None
        base = self.base_models.find(request.model)
        if base is None and (found := await self._find_model(project_id, request.model, version)):
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
        engine = self._engine_of(base, adapter)
        if engine is None:
            raise not_ready()
        engine_name = base.name if adapter is None else adapter.name
        return _Target(engine, base, adapter, Naming(asked=request.model, engine=engine_name))

    def _engine_of(self, base: BaseModelEntry, adapter: AdapterRef | None) -> InferenceEngine | None:
        if adapter is not None and adapter.is_full:
            return self.full_engines.get(adapter.engine)
        return self.engines.get(base.name)

    async def _answer(
        self, request: ChatRequest, target: _Target, caller: Caller, account: Account, send: Send
    ) -> None:
        body = request.body_for(target.naming.engine, self.salts.of(caller.project_id))
        chunks = target.engine.chat(EngineRequest(body, stream=request.stream), target.adapter)
        try:
            if request.stream:
                rewriter = StreamRewriter(target.naming, wants_usage=request.wants_usage)
                await send_stream(send, chunks, rewriter, account, target.headers)
            else:
                await send_whole(send, chunks, target.naming, account, target.headers)
        except EngineRefusal as refusal:
            raise describe_refusal(refusal, target.base) from refusal
        except AnswerRefused as refused:
            raise describe_refusal(EngineRefusal(refused.status, refused.body), target.base) from refused
        except EngineUnavailable as error:
            raise not_ready(error) from error
        except AnswerUnusable as error:
            raise broken_off() from error
        except AdapterRejected as error:
            raise await self._gone_or_broken(request.model, caller.project_id, error) from error

    async def _gone_or_broken(self, name: str, project_id: str, rejected: AdapterRejected) -> ApiError:
        """A model may be deleted while it is being loaded."""
        still_there = await asyncio.to_thread(self.find_model, project_id, name)
        return not_servable(name, rejected) if still_there is not None else unknown_model(name)
