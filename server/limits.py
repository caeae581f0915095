"""Bounds on what a request may hold, before anything reads it."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BODY_BYTES = 1024 * 1024  # the largest request of the JSON routes has 16 pairs of metadata


class JsonBodies:
    """Bounds every body, and takes it for JSON whatever its header says: curl -d calls it a form.

    Routes that stream their body count for themselves and are left alone.
    """

    def __init__(self, app: ASGIApp, *, streaming: frozenset[tuple[str, str]]) -> None:
        self._app = app
        self._streaming = streaming  # (method, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) in self._streaming:
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_JSON_BODY_BYTES:
                raise HTTPException(413)  # the one exception that passes through FastAPI's reading of a body
            return message

        headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        as_json = [*headers, (b"content-type", b"application/json")]
        await self._app({**scope, "headers": as_json}, counted, send)
