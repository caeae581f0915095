"""POST /v1/chat/completions: authenticate, resolve, forward, give the answer in OpenAI's form.

It stands before ASGI: what a server and a framework do for each request costs more than all that is done here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from inference.engine import (
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
)
from server.chat.accounts import Account, Admission, Caller, OpenDoor
from server.chat.answer import AnswerRefused, AnswerUnusable
from server.chat.engine_errors import broken_off, describe_refusal, not_ready, not_servable, unknown_model
from server.chat.exchange import Exchange, write_fields
from server.chat.protocol import PATH
from server.chat.request import ChatRequest, read_request
from server.chat.request_head import RequestHead
from server.chat.sending import SentStream, send_error, send_whole
from server.chat.stream import StreamRewriter
from server.chat.targets import Target, Targets
from server.db.remembered import Remembered
from server.errors import ApiError, InvalidRequest, Unauthenticated
from server.request_ids import server_fault

_LOG = logging.getLogger("tunesmith.api")


class MethodNotAllowed(ApiError):
    status = 405

    def headers(self) -> dict[str, str]:
        return {"allow": "POST"}


@dataclass(frozen=True)
class ChatRelay:
    """Answers exchanges."""

    authenticate: Callable[
        [Iterable[tuple[bytes, bytes]]], Caller
    ]  # of the request's headers; may block; raises ApiError
    version: Callable[[], int]  # of all that the two look at
    callers: Remembered[bytes, Caller]
    targets: Targets
    organization: bytes  # of answers to nobody known
    admission: Admission = field(default_factory=OpenDoor)

    async def __call__(self, exchange: Exchange) -> None:
        head, fields = exchange.head, b""
        exchange.organization = self.organization
        try:
            if head.method != b"POST":
                raise MethodNotAllowed("Only POST requests are accepted.", code="method_not_supported")
            version = self.version()
            caller = self.callers.known(head.digest, version) or await self._find_caller(head, version)
            exchange.organization = _as_field(caller.slug)
            if not exchange.is_whole:  # a body may take its time, and a key be revoked meanwhile
                await exchange.until_whole()
                version = self.version()
                caller = await self._find_caller(head, version)
            request = read_request(exchange.body())
            asked = (caller.project_id, request.model)
            target = self.targets.known(asked, version) or await self.targets.find(asked, version)
            if "tools" in request.fields and target.base.tool_call_parser is None:
                raise _no_tools(request.model)
            account = await self.admission.admit(caller, request, target.base.name, head.headers)
            fields = write_fields(account.headers)
            try:
                await self._answer(request, target, account, exchange, target.fields + fields)
            except ApiError as error:
                account.refused(error.status)
                raise
            finally:
                account.close()
        except ApiError as error:
            send_error(exchange, error, fields)
        except Exception:
            _fail(exchange)

    async def _find_caller(self, head: RequestHead, version: int) -> Caller:
        caller = await self.callers.find(head.digest, version, lambda: self.authenticate(head.headers))
        if caller is None:
            raise Unauthenticated("No caller was found.")
        return caller

    async def _answer(
        self, request: ChatRequest, target: Target, account: Account, exchange: Exchange, fields: bytes
    ) -> None:
        body = EngineRequest(request.body_for(target.naming.engine, target.salt), request.stream)
        try:
            if request.stream:
                rewriter = StreamRewriter(target.naming, wants_usage=request.wants_usage)
                await _stream(target, body, SentStream(exchange, rewriter, account, fields))
            else:
                given: list[bytes] = []
                await target.engine.chat(body, target.adapter, given.append)
                send_whole(exchange, b"".join(given), target.naming, account, fields)
        except EngineRefusal as refusal:
            raise describe_refusal(refusal, target.base) from refusal
        except AnswerRefused as refused:
            raise describe_refusal(EngineRefusal(refused.status, refused.body), target.base) from refused
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


async def _stream(target: Target, body: EngineRequest, stream: SentStream) -> None:
    try:
        await target.engine.chat(body, target.adapter, stream.take)
    except (EngineUnavailable, AnswerUnusable):
        if not stream.has_begun:
            raise
        if not stream.is_whole:
            stream.break_off()


def _fail(exchange: Exchange) -> None:
    """Answer after a fault of ours, or cut the answer off."""
    _LOG.exception("request %s failed: %s %s", exchange.request_id, exchange.head.method.decode(), PATH)
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
