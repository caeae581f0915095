"""Answers on their way to a client: whole, as a stream, or an error; each ends so that it cannot be misread."""

import asyncio
from collections.abc import Iterable, Sequence

import orjson

from server.chat.accounts import Account, Header
from server.chat.answer import Naming, rewrite_answer
from server.chat.engine_errors import broken_off
from server.chat.exchange import Exchange
from server.chat.stream import StreamRewriter
from server.errors import ApiError

_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def send_whole(exchange: Exchange, raw: bytes, naming: Naming, account: Account, headers: Iterable[Header]) -> None:
    body, usage = rewrite_answer(raw, naming)
    account.finished(usage)
    exchange.answer(200, (_JSON, *headers, *account.headers), body)


class SentStream:
    """A stream on its way. Once it has begun, a fault ends it with an error event, and never with `[DONE]`."""

    def __init__(
        self, exchange: Exchange, rewriter: StreamRewriter, account: Account, headers: Sequence[Header]
    ) -> None:
        self._exchange = exchange
        self._rewriter = rewriter
        self._account = account
        self._headers = headers
        self.has_begun = False

    def take(self, some: bytes) -> "asyncio.Future[None] | None":
        """Pass on what the engine wrote. Gives what to wait for before more of it.

        Raises: AnswerUnusable.
        """
        rewriter = self._rewriter
        rewritten = rewriter.feed(some)
        if not self.has_begun:
            self._begin()
        if rewriter.is_done and rewriter.usage is not None:
            self._account.finished(rewriter.usage)
        return self._exchange.stream(rewritten) if rewritten else None

    def end(self) -> None:
        self._exchange.end_stream()

    def break_off(self) -> None:
        self._exchange.stream(b"data: " + orjson.dumps(broken_off().body()) + b"\n\n")
        self._exchange.end_stream()

    def _begin(self) -> None:
        self.has_begun = True
        self._exchange.begin_stream((*_STREAM_HEADERS, *self._headers, *self._account.headers))
        self._account.relayed(self._rewriter.so_far)


def send_error(exchange: Exchange, error: ApiError, headers: Iterable[Header] = ()) -> None:
    own = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    exchange.answer(error.status, (_JSON, *own, *headers), orjson.dumps(error.body()))
