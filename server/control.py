"""The private door to the engines, on a unix socket: for adapters to be verified and forgotten, and for batches."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import orjson
from starlette.types import Receive, Scope, Send

from inference.engine import (
    CHAT_PATH,
    AdapterRef,
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
    InferenceEngine,
)
from server.batches.asking import KEY_FIELD, PATH_FIELD, PROJECT_FIELD, REQUEST_ID_FIELD
from server.chat.answer import rewrite_answer
from server.models.names import is_full_model
from server.relay.answers import AnswerUnusable, Naming
from server.relay.inner_door import InnerDoor, InnerRequest

_QUESTION = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class ControlApp:
    """The ASGI app.

    POST /adapters/verify  {name, base_model, directory, rank, sha256, is_full} → 200, 422 (it never will serve), 503
                           (try again)
    POST /adapters/forget  {name, engine} → 200, 503
    POST /requests         a request of a batch, as it is to a public route → its answer: see `server.batches.asking`
    GET  /engines          → what each engine says of itself: `EngineReport` by the name of its base or full model
    """

    engines: Mapping[str, InferenceEngine]  # by the base model's own name
    full_engines: Mapping[str, InferenceEngine] = field(default_factory=dict)  # by the full model's
    inner: InnerDoor | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.inner is not None and (scope["method"], scope["path"]) == ("POST", "/requests"):
            await _answer(self.inner, scope, receive, send)
            return
        try:
            status, answer = await self._route(scope["method"], scope["path"], receive)
        except AdapterRejected as error:
            status, answer = 422, {"error": str(error)}
        except EngineUnavailable as error:
            status, answer = 503, {"error": str(error)}
        await _send(send, status, orjson.dumps(answer))

    async def _route(self, method: str, path: str, receive: Receive) -> tuple[int, object]:
        match method, path:
            case "POST", "/adapters/verify":
                given = orjson.loads(await _read_body(receive))
                adapter = AdapterRef(**{**given, "directory": Path(given["directory"])})
                await self._verify(self._engine(adapter.engine), adapter)
                return 200, {"ok": True}
            case "POST", "/adapters/forget":
                given = orjson.loads(await _read_body(receive))
                await self._engine(given["engine"]).forget_adapter(given["name"])
                return 200, {"ok": True}
            case "GET", "/engines":
                asked = {**self.engines, **self.full_engines}
                return 200, {name: await engine.report() for name, engine in asked.items()}
            case _:
                return 404, {"error": "there is no such route"}

    def _engine(self, name: str) -> InferenceEngine:
        try:
            return (self.full_engines if is_full_model(name) else self.engines)[name]
        except KeyError:
            raise EngineUnavailable(f"there is no engine for the model {name!r}") from None

    async def _verify(self, engine: InferenceEngine, adapter: AdapterRef) -> None:
        """Have the adapter loaded and answer a real request under its own name."""
        await engine.ensure_adapter(adapter)
        body = orjson.dumps({"model": adapter.name, "messages": _QUESTION, "max_tokens": 1})
        try:
            given: list[bytes] = []
            await engine.answer(EngineRequest(CHAT_PATH, body, stream=False), adapter, given.append)
            rewrite_answer(b"".join(given), Naming(adapter.name, adapter.name))
        except EngineRefusal as refusal:
            if refusal.status >= 500:
                raise EngineUnavailable("the engine failed to answer with the adapter") from refusal
            raise AdapterRejected("the engine refused to answer with the adapter") from refusal
        except AnswerUnusable as error:
            raise AdapterRejected(f"the engine's answer with the adapter is of no use: {error}") from error


async def _answer(inner: InnerDoor, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a public route would, for as long as the worker listens."""
    headers = dict(scope["headers"])
    request = InnerRequest(
        path=headers[PATH_FIELD],
        project_id=headers[PROJECT_FIELD].decode(),
        key_id=unquote(headers[KEY_FIELD].decode()),
        body=await _read_body(receive),
    )
    asking = asyncio.ensure_future(inner.ask(request))
    leaving = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            answer = asking.result()
            await _send(send, answer.status, answer.body, (REQUEST_ID_FIELD, answer.request_id.encode()))
    finally:
        asking.cancel()  # and with it what the engine does
        leaving.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
