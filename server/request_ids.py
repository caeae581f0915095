"""The outermost layer: names every request, times it, and turns what nobody caught into OpenAI's 500."""

import logging
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ServerFault
from server.ids import new_request_id

OPENAI_VERSION = b"2020-10-01"
_LOG = logging.getLogger("tunesmith.api")


class RequestIds:
    """Adds OpenAI's headers to every answer: x-request-id, openai-processing-ms, openai-version, openai-organization.

    `scope["state"]["request_id"]` is for those inside; they may set `scope["state"]["organization"]`, the caller's.
    HEAD is answered like GET; the HTTP server leaves the body out.
    """

    def __init__(self, app: ASGIApp, *, organization: str) -> None:
        self._app = app
        self._organization = organization

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = {**scope.get("state", {}), "request_id": new_request_id(), "organization": self._organization}
        inner = {**scope, "state": state, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        answer = _Answer(send, state)
        try:
            await self._app(inner, receive, answer.send)
        except Exception:
            _LOG.exception("request %s failed: %s %s", state["request_id"], scope["method"], scope["path"])
            if answer.is_complete:
                return
            if answer.is_started:
                raise  # the server cuts the connection: a client must not take it for a whole answer
            await answer.send_fault()


class _Answer:
    def __init__(self, send: Send, state: dict[str, Any]) -> None:
        self._send = send
        self._state = state
        self._began = time.monotonic()
        self.is_started = False
        self.is_complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            message = {**message, "headers": [*message.get("headers", ()), *self._headers()]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True
        await self._send(message)

    async def send_fault(self) -> None:
        body = orjson.dumps(server_fault(self._state["request_id"]).body())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        elapsed_ms = round((time.monotonic() - self._began) * 1000)
        return [
            (b"x-request-id", self._state["request_id"].encode()),
            (b"openai-processing-ms", str(elapsed_ms).encode()),
            (b"openai-version", OPENAI_VERSION),
            (b"openai-organization", self._state["organization"].encode("latin-1", errors="replace")),
        ]


def server_fault(request_id: str) -> ServerFault:
    """The error of a fault of ours: nothing but the id under which the log tells more."""
    return ServerFault(
        "The server had an error while processing your request. Sorry about that! "
        f"The server's log says more under the request id {request_id}."
    )
