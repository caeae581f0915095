"""Answers on their way to a client: whole, as a stream, or an error; each ends so that it cannot be misread."""

import asyncio
from functools import partial

import orjson

from server.chat.accounts import Account
from server.chat.answer import Naming, rewrite_answer
from server.chat.engine_errors import broken_off
from server.chat.exchange import Exchange, write_fields
from server.chat.stream import StreamRewriter
from server.errors import ApiError

_JSON = b"content-type: application/json\r\n"
_STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


def send_whole(exchange: Exchange, raw: bytes, naming: Naming, account: Account, fields: bytes) -> None:
    body, usage = rewrite_answer(raw, naming)
    account.finished(usage, partial(exchange.answer, 200, _JSON + fields, body))


class SentStream:
    """A stream on its way. Once it has begun, a fault ends it with an error event, and never with `[DONE]`."""

    def __init__(self, exchange: Exchange, rewriter: StreamRewriter, account: Account, fields: bytes) -> None:
        self._exchange = exchange
        self._rewriter = rewriter
        self._account = account
        self._fields = fields
        self.has_begun = False

    def take(self, some: bytes) -> "asyncio.Future[None] | None":
        """Pass on what the engine wrote. Gives what to wait for before more of it.

        Raises: AnswerUnusable.
        """
        rewriter = self._rewriter
        if rewriter.is_done:
            return None  # nothing belongs behind an answer's end
        rewritten = rewriter.feed(some)
        if not self.has_begun:
            self._begin()
        if rewriter.is_done and rewriter.usage is not None:
            self._account.finished(rewriter.usage, partial(self._end, rewritten))
            return None
        return self._exchange.stream(rewritten) if rewritten else None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to come any more."""
        return self._rewriter.is_done

    def break_off(self) -> None:
        self._exchange.stream(b"data: " + orjson.dumps(broken_off().body()) + b"\n\n")
        self._exchange.end_stream()

    def _end(self, last: bytes) -> None:
        self._exchange.stream(last)
        self._exchange.end_stream()

    def _begin(self) -> None:
        self.has_begun = True
        self._exchange.begin_stream(_STREAM + self._fields)
        self._account.relayed(self._rewriter.so_far)


def send_error(exchange: Exchange, error: ApiError, fields: bytes = b"") -> None:
    own = write_fields((name.encode(), value.encode()) for name, value in error.headers().items())
    exchange.answer(error.status, _JSON + own + fields, orjson.dumps(error.body()))
