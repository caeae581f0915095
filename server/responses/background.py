"""Responses whose clients do not wait: each is answered by a request from within, in the process that took it, or
in another one, if that is killed.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

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
from server.responses.request import ResponseRequest, read_request
from server.responses.taking_over import Left, take_over
from server.vocabulary import ResponseStatus

_LOG = logging.getLogger("tunesmith.api")
MAX_UNFINISHED = 100  # of a project
_PATIENCE_S = 600.0  # with an engine that is away, or as busy as it may be
_LOOK_S = 0.5  # how often it looks what was cancelled
_SEARCH_S = 2.0  # how often it looks what others have left

FindCaller = Callable[[str, str], Caller | None]  # by project and key; may block
Ask = Callable[[Operation[Any], Caller, bytes], Awaitable[InnerAnswer]]


@dataclass(eq=False)
class _Work:
    """On one response."""

    task: "asyncio.Task[None] | None" = None  # None: the response is being kept
    is_ending: bool = False


class BackgroundResponses:
    """Belongs to one event loop. A lock says that this process lives: what it leaves, another one takes over."""

    def __init__(
        self,
        desk: ResponseDesk,
        locks: NameLocks,
        operation: Operation[ResponseRequest],
        ask: Ask,
        find_caller: FindCaller,
        pause_s: float = 5.0,  # before an engine that is away is asked again
    ) -> None:
        self._desk = desk
        self._locks = locks
        self._operation = operation
        self._ask = ask
        self._find_caller = find_caller
        self._pause_s = pause_s
        self._runner = secrets.token_hex(16)
        self._held: HeldName | None = None
        self._works: dict[str, _Work] = {}  # by response
        self._watching: asyncio.Task[None] | None = None
        self._searching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for what processes that are gone have left."""
        self._searching = asyncio.create_task(self._search())

    async def take(self, caller: Caller, request: ResponseRequest) -> bytes | None:
        """Begin the work and give the response as it is now; None: its client waits for it.

        Raises:
            TooManyRequests, InsufficientStorage, EngineUnavailable.
        """
        if not request.is_background:
            return None
        self._live()
        body = response.begin(request, ResponseStatus.QUEUED)
        self._works[request.id] = _Work()
        adding = asyncio.create_task(asyncio.to_thread(self._add, caller, request, body))
        adding.add_done_callback(partial(self._begin, caller, request))
        with describing_failures():
            await asyncio.shield(adding)  # the work goes on if the client is gone meanwhile
        return orjson.dumps(body)

    async def close(self) -> None:
        """Leave what is not done to be found abandoned."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        tasks += [task for task in (self._watching, self._searching) if task is not None]
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
        self._work_on(request.id, self._answer(caller, request))

    def _live(self) -> None:
        """Hold the lock before anything is written down that is to be worked on."""
        if self._held is None:
            self._held = self._locks.take(keeping.RUNNER, self._runner)

    def _work_on(self, response_id: str, answering: Coroutine[Any, Any, None]) -> None:
        self._works[response_id] = _Work(asyncio.create_task(self._work(response_id, answering)))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _work(self, response_id: str, answering: Coroutine[Any, Any, None]) -> None:
        try:
            await answering
        except DBAPIError as error:  # it is found again by the search
            _LOG.error("a response in the background was not kept: %s", type(error).__name__)
        finally:
            del self._works[response_id]

    async def _search(self) -> None:
        while True:
            try:
                await self._take_over()
            except (SQLAlchemyError, OSError) as error:
                _LOG.error("the search for responses in the background failed: %s", type(error).__name__)
            await asyncio.sleep(_SEARCH_S)

    async def _take_over(self) -> None:
        self._live()
        taking = asyncio.to_thread(take_over, self._desk.database, self._locks, self._runner, set(self._works))
        for left in await taking:
            if left.response_id not in self._works:  # of which some may have begun meanwhile
                self._work_on(left.response_id, self._go_on(left))

    async def _go_on(self, left: Left) -> None:
        """Answer what another process left, from the request as it was."""
        caller = await asyncio.to_thread(self._find_caller, left.project_id, left.key_id)
        if caller is None:
            return  # the project is gone, and its responses with it
        try:
            asked = read_request(left.asked)  # which another version may have taken
            request = await self._desk.complete(caller, asked, left.response_id, left.created_at)
        except ApiError as error:
            if error.status < 500:  # else the database could not say: it is found again by the search
                await self._fail(caller, left.response_id, error)
        else:
            await self._answer(caller, request)

    async def _answer(self, caller: Caller, request: ResponseRequest) -> None:
        project_id = ProjectId(caller.project_id)
        if not await asyncio.to_thread(self._say_begun, project_id, request.id):
            return
        operation = replace(self._operation, read=lambda _raw: request, prepare=None, keep=self._keep)
        error = await self._put(operation, caller, request)
        if error is not None:
            await self._fail(caller, request.id, error)

    async def _fail(self, caller: Caller, response_id: str, error: ApiError) -> None:
        def fail() -> None:
            with project_session(self._desk.database, ProjectId(caller.project_id), write=True) as session:
                keeping.fail(session, response_id, error)

        await asyncio.to_thread(fail)

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
        """End the work on what was cancelled or deleted, in whichever process."""
        while self._works:
            await asyncio.sleep(_LOOK_S)
            works = {response_id: work for response_id, work in self._works.items() if work.task is not None}
            try:
                wanted = await asyncio.to_thread(repository.list_worked_on, self._desk.database, self._runner)
            except DBAPIError as error:
                _LOG.error("the look at responses in the background failed: %s", type(error).__name__)
                continue
            for response_id in works.keys() - wanted:
                work = works[response_id]
                if work.task is not None and not work.is_ending:
                    work.task.cancel()

    def _add(self, caller: Caller, request: ResponseRequest, body: JsonObject) -> None:
        with project_session(self._desk.database, ProjectId(caller.project_id), write=True) as session:
            if repository.count_unfinished(session) >= MAX_UNFINISHED:
                raise TooManyRequests(
                    f"At most {MAX_UNFINISHED} responses of a project are worked on in the background at once. "
                    "Please try again when one of them has ended.",
                    param="background",
                    code="rate_limit_exceeded",
                )
            work = keeping.Work(self._runner, caller.key_id, request.asked)
            keeping.add(session, body, request.items, request.before, work)

    def _say_begun(self, project_id: ProjectId, response_id: str) -> bool:
        with project_session(self._desk.database, project_id, write=True) as session:
            return keeping.begin(session, response_id)

    def _finish(self, project_id: ProjectId, body: JsonObject) -> None:
        with project_session(self._desk.database, project_id, write=True) as session:
            keeping.finish(session, body)
