"""Answers on their way to a client: whole, as a stream, or an error; each ends so that it cannot be misread."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import orjson
from starlette.types import Send

from inference.engine import EngineUnavailable
from server.chat.accounts import Account, Header
from server.chat.answer import AnswerUnusable, Naming, rewrite_answer
from server.chat.engine_errors import broken_off
from server.chat.stream import StreamRewriter
from server.errors import ApiError

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


async def send_whole(
    send: Send, chunks: AsyncGenerator[bytes], naming: Naming, account: Account, headers: Iterable[Header]
) -> None:
    async with aclosing(chunks):
        raw = b"".join([chunk async for chunk in chunks])
    body, usage = rewrite_answer(raw, naming)
    account.finished(usage)
    await send_json(send, 200, body, [*headers, *account.headers])


async def send_stream(
    send: Send, chunks: AsyncGenerator[bytes], rewriter: StreamRewriter, account: Account, headers: Iterable[Header]
) -> None:
    """Send a stream. Once it has begun, a fault ends it with an error event, and never with `[DONE]`."""
    has_begun = False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                rewritten = rewriter.feed(chunk)
                if not has_begun:
                    fields = [*_STREAM_HEADERS, *headers, *account.headers]
                    await send({"type": "http.response.start", "status": 200, "headers": fields})
                    account.relayed(rewriter.so_far)
                    has_begun = True
                if rewriter.is_done and rewriter.usage is not None:
                    account.finished(rewriter.usage)
                if rewritten:
                    await send({"type": "http.response.body", "body": rewritten, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except (EngineUnavailable, AnswerUnusable):
        if not has_begun:
            raise
        event = b"data: " + orjson.dumps(broken_off().body()) + b"\n\n"
        await send({"type": "http.response.body", "body": event})


async def send_error(send: Send, error: ApiError, headers: Iterable[Header] = ()) -> None:
    own = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    await send_json(send, error.status, orjson.dumps(error.body()), [*own, *headers])


async def send_json(send: Send, status: int, body: bytes, headers: Iterable[Header]) -> None:
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
