"""uvicorn's protocol, but relayed routes are answered on the connection itself, without ASGI (docs/decisions/0028).

Reading HTTP, keeping connections, pipelining and ending are uvicorn's. Every other request is its own, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.kept_connections import KeptConnection
from server.relay.exchange import Exchange, write_fields
from server.relay.operation import Operation
from server.relay.request_head import Header, RequestHead


class RelayingProtocol(KeptConnection):
    """A client's connection. Its first relayed request starts a task, in which this and the later ones are answered."""

    relay: ClassVar[Callable[[Exchange], Awaitable[None]]]
    operations: ClassVar[Mapping[bytes, Operation[Any]]]  # by path
    max_body_bytes: ClassVar[int]
    _written: ClassVar[tuple[list[Header], bytes]] = ([], b"")  # uvicorn's own fields, which change every second

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.until_writable: asyncio.Future[None] | None = None
        self._is_within = False  # a message, by the parser's account
        self._operation: Operation[Any] | None = None  # of the last relayed request
        self._head: RequestHead | None = None  # of the last relayed request, if it can be known again
        self._due: Exchange | None = None
        self._is_due: asyncio.Future[None] | None = None  # the task waits
        self._talking: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_write()
        if self._talking is not None:
            self._talking.cancel()  # and with it what the engine does for it

    @property
    def default_fields(self) -> bytes:
        headers = self.server_state.default_headers
        if self._written[0] is not headers:
            RelayingProtocol._written = (headers, write_fields(headers))
        return self._written[1]

    def data_received(self, data: bytes) -> None:
        is_new = not self._is_within and (self.cycle is None or self.cycle.response_complete)
        if is_new and self._head is not None and (body := self._head.body_of(data)) is not None:
            assert self._operation is not None
            exchange = Exchange(self, self._operation, self._head, self.max_body_bytes)
            self.cycle = exchange  # type: ignore[assignment]
            exchange.take(body)
            exchange.is_whole = True
            self._idle_since = None
            self._begin(exchange)
            return
        before = self.cycle
        super().data_received(data)
        if is_new and self.cycle is not before and isinstance(self.cycle, Exchange) and self.cycle.is_whole:
            self._head = self.cycle.head if self.cycle.head.remember(data) else None

    def on_message_begin(self) -> None:
        self._is_within = True
        self.url = b""
        self.headers: list[Header] = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        method = self.parser.get_method()
        operation = self._find_operation()
        if operation is None or method in operation.in_app:
            self._leave_to_uvicorn()
            return
        before = self.cycle
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        head = RequestHead(method, self.headers, keep_alive=keep_alive, expects_continue=self.expect_100_continue)
        self._operation = operation
        exchange = Exchange(self, operation, head, self.max_body_bytes)
        self.cycle = exchange  # type: ignore[assignment]  # it acts as one
        if before is None or before.response_complete:
            self._begin(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, None))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, Exchange):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_within = False
        if isinstance(self.cycle, Exchange):
            self.cycle.end_body()
        else:
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.until_writable is None:
            self.until_writable = self.loop.create_future()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._let_write()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Exchange):
            self._begin(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, exchange: Exchange) -> None:
        self._due = exchange
        if self._talking is None:
            self._talking = self.loop.create_task(self._talk())
            self.tasks.add(self._talking)
            self._talking.add_done_callback(self.tasks.discard)
        elif self._is_due is not None and not self._is_due.done():
            self._is_due.set_result(None)

    async def _talk(self) -> None:
        relay = type(self).relay
        try:
            while True:
                while (exchange := self._due) is None:
                    self._is_due = self.loop.create_future()
                    await self._is_due
                self._due = None
                await relay(exchange)
        finally:
            self.wire.close()

    def _find_operation(self) -> Operation[Any] | None:
        """As ASGI has it: the path alone counts, and however it is written."""
        operation = self.operations.get(self.url)
        if operation is None:
            path = unquote(httptools.parse_url(self.url).path.decode("ascii"))
            operation = self.operations.get(path.encode())
        return operation

    def _leave_to_uvicorn(self) -> None:
        """Let it begin the message after all, which has a dictionary made that the relay has no use for."""
        url, headers, expects_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def _let_write(self) -> None:
        waiting, self.until_writable = self.until_writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def relaying_protocol(
    relay: Callable[[Exchange], Awaitable[None]], operations: Iterable[Operation[Any]], max_body_bytes: int
) -> type[HttpToolsProtocol]:
    """Give uvicorn's `http`: connections whose requests for these operations this relay answers."""
    own = {
        "relay": staticmethod(relay),
        "operations": {operation.path: operation for operation in operations},
        "max_body_bytes": max_body_bytes,
    }
    return type("OwnRelayingProtocol", (RelayingProtocol,), own)
