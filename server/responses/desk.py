"""What the relay asks of the database for a response: what came before it, and to keep it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from server.db.failures import describing_failures
from server.db.project_session import project_session
from server.errors import InvalidRequest
from server.ids import ProjectId, new_response_id
from server.relay.accounts import Caller
from server.relay.fields import JsonObject
from server.relay.operation import Given
from server.responses import keeping
from server.responses.answer import final_response
from server.responses.before import Before
from server.responses.conversations import find_before, find_referred
from server.responses.request import ResponseRequest
from server.responses.retention import Retention


@dataclass(frozen=True)
class ResponseDesk:
    database: Engine
    retention: Retention
    max_thread_bytes: int  # of a conversation that goes on
    clock: Callable[[], float]  # unix seconds

    async def prepare(self, caller: Caller, request: ResponseRequest) -> ResponseRequest:
        """Give the whole request: with an id, and with what it goes on from.

        Raises:
            InvalidRequest, NotFound: there is no such thing, or the conversation is none.
        """
        if request.is_kept and not self.retention.keeps:
            if request.is_background:
                raise InvalidRequest(
                    "Unsupported value for 'background': this server stores no responses.",
                    param="background",
                    code="unsupported_value",
                )
            request = request.unkept()
        return await self.complete(caller, request, new_response_id(), int(self.clock()))

    async def complete(
        self, caller: Caller, request: ResponseRequest, response_id: str, created_at: int
    ) -> ResponseRequest:
        """Give the whole request of a response.

        Raises:
            InvalidRequest, NotFound: what it goes on from is not there, or the conversation is none.
        """
        before = Before()
        found: Mapping[str, JsonObject] = {}
        if request.previous_id is not None or request.referred():
            with describing_failures():
                before, found = await asyncio.to_thread(self._look_up, ProjectId(caller.project_id), request)
        return request.completed(response_id, created_at, before, found)

    async def keep(self, caller: Caller, request: ResponseRequest, given: Given) -> None:
        """Store a whole answer.

        Raises:
            InsufficientStorage, EngineUnavailable: it could not be.
        """
        body = final_response(given.body, streamed=request.stream)
        with describing_failures():
            await asyncio.to_thread(self._add, ProjectId(caller.project_id), request, body)

    def _look_up(self, project_id: ProjectId, request: ResponseRequest) -> tuple[Before, Mapping[str, JsonObject]]:
        since = self.retention.since(self.clock())
        before = Before()
        with project_session(self.database, project_id) as session:
            if request.previous_id is not None:
                before = find_before(session, request.previous_id, since=since, max_bytes=self.max_thread_bytes)
            return before, find_referred(session, request.referred(), since=since)

    def _add(self, project_id: ProjectId, request: ResponseRequest, body: JsonObject) -> None:
        with project_session(self.database, project_id, write=True) as session:
            keeping.add(session, body, request.items, request.before)
