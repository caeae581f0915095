"""POST to a relayed route: authenticate, resolve, forward, give the answer in OpenAI's form.

It stands before ASGI: what a server and a framework do for each request costs more than all that is done here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from inference.engine import (
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
)
from server.db.remembered import Remembered
from server.errors import ApiError, InvalidRequest, Unauthenticated
from server.relay.accounts import Account, Admission, Caller, Header, OpenDoor
from server.relay.answers import AnswerRefused, AnswerUnusable
from server.relay.engine_errors import broken_off, describe_refusal, not_ready, not_servable, unknown_model, wrong_kind
from server.relay.exchange import Exchange, write_fields
from server.relay.inner import InnerAnswer, InnerExchange
from server.relay.operation import Operation
from server.relay.relayed_request import RelayedRequest
from server.relay.request_head import RequestHead
from server.relay.sending import Answering, Keep, SentStream, send_at_once, send_error, send_whole
from server.relay.targets import Target, Targets
from server.request_ids import server_fault

_LOG = logging.getLogger("tunesmith.api")


class MethodNotAllowed(ApiError):
    status = 405

    def __init__(self, in_app: frozenset[bytes]) -> None:
        self._allowed = sorted(["POST", *(method.decode() for method in in_app)])
        accepted = " and ".join(self._allowed)
        super().__init__(f"Only {accepted} requests are accepted.", code="method_not_supported")

    def headers(self) -> dict[str, str]:
        return {"allow": ", ".join(self._allowed)}


@dataclass(frozen=True)
class Relay:
    """Answers exchanges."""

    authenticate: Callable[[Iterable[Header]], Caller]  # of the request's headers; may block; raises ApiError
    version: Callable[[], int]  # of all that the two look at
    callers: Remembered[bytes, Caller]
    targets: Targets
    organization: bytes  # of answers to nobody known
    admission: Admission = field(default_factory=OpenDoor)
    engine_fields: bytes = b""  # put into each request to an engine

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a client on its connection."""
        exchange.organization = self.organization
        try:
            caller, version = await self._receive(exchange)
            await self._put(exchange, exchange.operation, caller, version, exchange.body(), exchange.head.headers)
        except ApiError as error:
            send_error(exchange, error)
        except Exception:
            _fail(exchange, exchange.operation)

    async def ask(self, operation: Operation[Any], caller: Caller, body: bytes) -> InnerAnswer:
        """Answer a request that comes from within the service, on behalf of a caller; nothing is raised of it."""
        exchange = InnerExchange()
        try:
            await self._put(exchange, operation, caller, self.version(), body, ())
        except ApiError as error:
            send_error(exchange, error)
        except Exception:
            _fail(exchange, operation)
        return await exchange.given()

    async def _receive(self, exchange: Exchange) -> tuple[Caller, int]:
        """Find who asks, and wait for the request's body."""
        head = exchange.head
        if head.method != b"POST":
            raise MethodNotAllowed(exchange.operation.in_app)
        version = self.version()
        caller = self.callers.known(head.digest, version) or await self._find_caller(head, version)
        exchange.organization = _as_field(caller.slug)
        if not exchange.is_whole:  # a body may take its time, and a key be revoked meanwhile
            await exchange.until_whole()
            version = self.version()
            caller = await self._find_caller(head, version)
        return caller, version

    async def _find_caller(self, head: RequestHead, version: int) -> Caller:
        caller = await self.callers.find(head.digest, version, lambda: self.authenticate(head.headers))
        if caller is None:
            raise Unauthenticated("No caller was found.")
        return caller

    async def _put(
        self,
        exchange: Answering,
        operation: Operation[Any],
        caller: Caller,
        version: int,
        body: bytes,
        headers: Iterable[Header],
    ) -> None:
        """Raises: ApiError, before anything of an answer is given."""
        request = operation.read(body)
        asked = (caller.project_id, request.model)
        target = self.targets.known(asked, version) or await self.targets.find(asked, version)
        if target.base.kind is not operation.kind:
            raise wrong_kind(request.model, target.base.kind, operation.path.decode())
        if "tools" in request.fields and target.base.tool_call_parser is None:
            raise _no_tools(request.model)
        if operation.prepare is not None:
            request = await operation.prepare(caller, request)
        if operation.instead is not None and (said := await operation.instead(caller, request)) is not None:
            send_at_once(exchange, said, target.fields)
            return
        account = await self.admission.admit(caller, request, target.base.name, headers)
        fields = write_fields(account.headers)
        keep = None if operation.keep is None or not request.is_kept else partial(operation.keep, caller, request)
        try:
            await self._answer(exchange, operation, request, target, account, target.fields + fields, keep)
        except ApiError as error:
            account.refused(error.status)
            send_error(exchange, error, fields)
        finally:
            account.close()

    async def _answer(
        self,
        exchange: Answering,
        operation: Operation[Any],
        request: RelayedRequest,
        target: Target,
        account: Account,
        fields: bytes,
        keep: Keep | None,
    ) -> None:
        body = request.body_for(target.naming.engine, target.salt)
        if self.engine_fields:
            body = body[:-1] + b"," + self.engine_fields + b"}"
        asked = EngineRequest(operation.engine_path, body, request.stream)
        try:
            if request.stream and operation.rewriter is not None:
                rewriter = operation.rewriter(target.naming, request)
                fail = None if operation.fail is None else partial(operation.fail, rewriter)
                stream = SentStream(exchange, rewriter, account, fields, keep, fail)
                await _stream(target, asked, stream)
            else:
                given: list[bytes] = []
                await target.engine.answer(asked, target.adapter, given.append)
                answer, usage = operation.rewrite(b"".join(given), target.naming, request)
                await send_whole(exchange, answer, usage, account, fields, keep)
        except EngineRefusal as refusal:
            raise describe_refusal(refusal, target.base, operation.prompt_param, operation.names) from refusal
        except AnswerRefused as refused:
            said = EngineRefusal(refused.status, refused.body)
            raise describe_refusal(said, target.base, operation.prompt_param, operation.names) from refused
        except EngineUnavailable as error:
            raise not_ready(error) from error
        except AnswerUnusable as error:
            raise broken_off() from error
        except AdapterRejected as error:
            raise await self._gone_or_broken(target, error) from error

    async def _gone_or_broken(self, target: Target, rejected: AdapterRejected) -> ApiError:
        """A model may be deleted while it is being loaded."""
        project_id, name = target.asked
        still_there = await asyncio.to_thread(self.targets.find_model, project_id, name)
        return not_servable(name, rejected) if still_there is not None else unknown_model(name)


async def _stream(target: Target, asked: EngineRequest, stream: SentStream) -> None:
    try:
        await target.engine.answer(asked, target.adapter, stream.take)
    except (EngineUnavailable, AnswerUnusable):
        if not stream.has_begun:
            raise
        if not stream.is_whole:
            stream.break_off()
            return
    try:
        await stream.keep()
    except ApiError as error:
        stream.break_off(error)


def _fail(exchange: Exchange | InnerExchange, operation: Operation[Any]) -> None:
    """Answer after a fault of ours, or cut the answer off."""
    _LOG.exception("request %s failed: POST %s", exchange.request_id, operation.path.decode())
    if exchange.is_started:
        exchange.cut()
    else:
        send_error(exchange, server_fault(exchange.request_id))


def _no_tools(model: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for 'tools': the model '{model}' cannot call tools. Its base model has no tool_call_parser in "
        "the server's settings.",
        param="tools",
        code="unsupported_value",
    )


def _as_field(text: str) -> bytes:
    return text.encode("latin-1", errors="replace")
