"""Answers on their way to a client: whole, as a stream, or an error; each ends so that it cannot be misread."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import orjson

from server.errors import ApiError
from server.relay.accounts import Account, Usage
from server.relay.engine_errors import broken_off
from server.relay.exchange import write_fields
from server.relay.operation import Given, Rewriter

_JSON = b"content-type: application/json\r\n"
_STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"

Keep = Callable[[Given], Awaitable[None]]


class Answering(Protocol):
    """Where an answer goes."""

    def answer(self, status: int, fields: bytes, body: bytes) -> None: ...
    def begin_stream(self, fields: bytes) -> None: ...
    def stream(self, some: bytes) -> "asyncio.Future[None] | None": ...
    def end_stream(self) -> None: ...


async def send_whole(
    exchange: Answering, body: bytes, usage: Usage, account: Account, fields: bytes, keep: Keep | None
) -> None:
    if keep is not None:
        await keep(Given(body, usage))
    account.finished(usage, partial(exchange.answer, 200, _JSON + fields, body))


class SentStream:
    """A stream on its way. Once it has begun, a fault ends it with an error event, and never with `[DONE]`."""

    def __init__(
        self, exchange: Answering, rewriter: Rewriter, account: Account, fields: bytes, keep: Keep | None
    ) -> None:
        self._exchange = exchange
        self._rewriter = rewriter
        self._account = account
        self._fields = fields
        self._keep = keep
        self._sent: list[bytes] = []  # if it is kept
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
        if self._keep is not None:
            self._sent.append(rewritten)
        if rewriter.is_done and rewriter.usage is not None:
            if self._keep is None:
                self._account.finished(rewriter.usage, partial(self._end, rewritten))
            return None  # what is kept is ended by `keep`
        return self._exchange.stream(rewritten) if rewritten else None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to come any more."""
        return self._rewriter.is_done

    async def keep(self) -> None:
        """Store a whole answer that is to be kept, and only then send its end."""
        if self._keep is None or self._rewriter.usage is None:
            return
        await self._keep(Given(b"".join(self._sent), self._rewriter.usage))
        self._account.finished(self._rewriter.usage, partial(self._end, self._sent[-1]))

    def break_off(self, error: ApiError | None = None) -> None:
        self._exchange.stream(b"data: " + orjson.dumps((error or broken_off()).body()) + b"\n\n")
        self._exchange.end_stream()

    def _end(self, last: bytes) -> None:
        self._exchange.stream(last)
        self._exchange.end_stream()

    def _begin(self) -> None:
        self.has_begun = True
        self._exchange.begin_stream(_STREAM + self._fields)
        self._account.relayed(self._rewriter.so_far)


def send_error(exchange: Answering, error: ApiError, fields: bytes = b"") -> None:
    own = write_fields((name.encode(), value.encode()) for name, value in error.headers().items())
    exchange.answer(error.status, _JSON + own + fields, orjson.dumps(error.body()))
