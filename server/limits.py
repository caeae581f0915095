"""What the body of a request may be, before anything reads it."""

import re

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BODY_BYTES = 1024 * 1024  # the largest request of the JSON routes has 16 pairs of metadata


class JsonBodies:
    """Bounds every body that is read, and takes it for JSON whatever its header says: curl -d calls it a form.

    Routes that stream their body count for themselves and are left alone.
    """

    def __init__(self, app: ASGIApp, *, streaming: re.Pattern[str]) -> None:
        self._app = app
        self._streaming = streaming  # the whole of "METHOD /path"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._streaming.fullmatch(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        has_body = scope["method"] in ("POST", "PUT", "PATCH")
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        as_json = [*headers, (b"content-type", b"application/json")]
        await self._app({**scope, "headers": as_json}, _checked(receive) if has_body else receive, send)


def _checked(receive: Receive) -> Receive:
    """The body in one message; an HTTPException is what passes through FastAPI's reading of it."""
    is_read = False

    async def receive_whole() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        body = bytearray()
        more_body = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message
            body += message.get("body", b"")
            more_body = message.get("more_body", False)
            if len(body) > MAX_JSON_BODY_BYTES:
                raise HTTPException(413)
        _check_json(bytes(body))
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return receive_whole


def _check_json(body: bytes) -> None:
    """Refuse what Python's own parser lets through: NaN, half characters, other encodings than UTF-8, any depth."""
    if not body:
        return
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400) from error
