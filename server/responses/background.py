"""Responses whose clients do not wait: each is answered by a request from within, in the process that took it."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError

from server.db.failures import describing_failures
from server.db.project_session import project_session
from server.errors import ApiError, ServerFault, TooManyRequests
from server.ids import ProjectId
from server.name_locks import HeldName, NameLocks
from server.relay.accounts import Caller
from server.relay.fields import JsonObject
from server.relay.inner import InnerAnswer
from server.relay.operation import Given, Operation
from server.responses import keeping, repository, response
from server.responses.answer import final_response
from server.responses.desk import ResponseDesk
from server.responses.inner_errors import is_passing, read_error
from server.responses.request import ResponseRequest
from server.responses.sweeping import give_up_lost
from server.vocabulary import ResponseStatus

_LOG = logging.getLogger("tunesmith.api")
MAX_UNFINISHED = 100  # of a project
_PATIENCE_S = 600.0  # with an engine that is away, or as busy as it may be
_LOOK_S = 0.5  # how often it looks what was cancelled

Ask = Callable[[Operation[Any], Caller, bytes], Awaitable[InnerAnswer]]


@dataclass(eq=False)
class _Work:
    """On one response."""

    task: "asyncio.Task[None] | None" = None  # None: the response is being kept
    is_ending: bool = False


class BackgroundResponses:
    """Belongs to one event loop. A lock says that this process lives: what it leaves when it is killed has failed."""

    def __init__(
        self,
        desk: ResponseDesk,
        locks: NameLocks,
        operation: Operation[ResponseRequest],
        ask: Ask,
        pause_s: float = 5.0,  # before an engine that is away is asked again
    ) -> None:
        self._desk = desk
        self._locks = locks
        self._operation = operation
        self._ask = ask
        self._pause_s = pause_s
        self._runner = secrets.token_hex(16)
        self._held: HeldName | None = None
        self._works: dict[str, _Work] = {}  # by response
        self._watching: asyncio.Task[None] | None = None

    async def take(self, caller: Caller, request: ResponseRequest) -> bytes | None:
        """Begin the work and give the response as it is now; None: its client waits for it.

        Raises:
            TooManyRequests, InsufficientStorage, EngineUnavailable.
        """
        if not request.is_background:
            return None
        if self._held is None:
            self._held = self._locks.take(keeping.RUNNER, self._runner)
        body = response.begin(request, ResponseStatus.QUEUED)
        self._works[request.id] = _Work()
        adding = asyncio.create_task(asyncio.to_thread(self._add, ProjectId(caller.project_id), request, body))
        adding.add_done_callback(partial(self._begin, caller, request))
        with describing_failures():
            await asyncio.shield(adding)  # the work goes on if the client is gone meanwhile
        return orjson.dumps(body)

    async def close(self) -> None:
        """Leave what is not done to be found abandoned."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        tasks += [] if self._watching is None else [self._watching]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._held is not None:
            self._held.release()
            self._held = None

    def _begin(self, caller: Caller, request: ResponseRequest, adding: "asyncio.Task[None]") -> None:
        if adding.cancelled() or adding.exception() is not None:
            del self._works[request.id]
            return
        self._works[request.id].task = asyncio.create_task(self._work(caller, request))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _work(self, caller: Caller, request: ResponseRequest) -> None:
        try:
            await self._answer(caller, request)
        except DBAPIError as error:  # the watch ends what is left
            _LOG.error("a response in the background was not kept: %s", type(error).__name__)
        finally:
            del self._works[request.id]

    async def _answer(self, caller: Caller, request: ResponseRequest) -> None:
        project_id = ProjectId(caller.project_id)
        if not await asyncio.to_thread(self._say_begun, project_id, request.id):
            return
        operation = replace(self._operation, read=lambda _raw: request, prepare=None, keep=self._keep)
        error = await self._put(operation, caller, request)
        if error is not None:
            failed = response.fail(response.begin(request, ResponseStatus.IN_PROGRESS), error)
            await asyncio.to_thread(self._finish, project_id, failed)

    async def _put(self, operation: Operation[Any], caller: Caller, request: ResponseRequest) -> ApiError | None:
        """Ask until there is an answer; give what there is instead of one."""
        until = self._desk.clock() + _PATIENCE_S
        while True:
            try:
                answer = await self._ask(operation, caller, request.raw)
            except ServerFault as fault:
                return fault
            if answer.status == 200:
                return None
            if not is_passing(answer) or self._desk.clock() >= until:
                return read_error(answer)
            await asyncio.sleep(self._pause_s)

    async def _keep(self, caller: Caller, request: ResponseRequest, given: Given) -> None:
        self._works[request.id].is_ending = True
        body = final_response(given.body, streamed=False)
        await asyncio.to_thread(self._finish, ProjectId(caller.project_id), body)

    async def _watch(self) -> None:
        """End the work on what was cancelled or deleted, in whichever process, and what nobody works on any more."""
        left: set[str] = set()
        while self._works or left:
            await asyncio.sleep(_LOOK_S)
            works = {response_id: work for response_id, work in self._works.items() if work.task is not None}
            try:
                left = await asyncio.to_thread(repository.list_worked_on, self._desk.database, self._runner)
                if lost := left - self._works.keys():
                    await asyncio.to_thread(give_up_lost, self._desk.database, self._runner, lost)
            except DBAPIError as error:
                _LOG.error("the look at responses in the background failed: %s", type(error).__name__)
                continue
            for response_id in works.keys() - left:
                work = works[response_id]
                if work.task is not None and not work.is_ending:
                    work.task.cancel()

    def _add(self, project_id: ProjectId, request: ResponseRequest, body: JsonObject) -> None:
        with project_session(self._desk.database, project_id, write=True) as session:
            if repository.count_unfinished(session) >= MAX_UNFINISHED:
                raise TooManyRequests(
                    f"At most {MAX_UNFINISHED} responses of a project are worked on in the background at once. "
                    "Please try again when one of them has ended.",
                    param="background",
                    code="rate_limit_exceeded",
                )
            keeping.add(session, body, request.items, request.before, self._runner)

    def _say_begun(self, project_id: ProjectId, response_id: str) -> bool:
        with project_session(self._desk.database, project_id, write=True) as session:
            return keeping.begin(session, response_id)

    def _finish(self, project_id: ProjectId, body: JsonObject) -> None:
        with project_session(self._desk.database, project_id, write=True) as session:
            keeping.finish(session, body)
