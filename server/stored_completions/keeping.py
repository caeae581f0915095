"""Stores what is asked with `store`, before the last of its answer is sent."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from server.db.failures import describe_failure
from server.db.project_session import project_session
from server.ids import ProjectId
from server.relay.accounts import Caller
from server.relay.operation import Given
from server.relay.relayed_request import RelayedRequest
from server.stored_completions import service
from server.stored_completions.bounds import Asked
from server.stored_completions.completion import build_completion


def _one_thread() -> ThreadPoolExecutor:
    """Of its own: writers exclude each other anyway, and whoever asks without `store` finds the other threads free."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="stored completions")


@dataclass(frozen=True)
class CompletionKeeper:
    """Belongs to one event loop."""

    database: Engine
    settings: Asked
    clock: Callable[[], float] = time.time  # unix seconds
    _thread: ThreadPoolExecutor = field(default_factory=_one_thread, init=False, repr=False)

    async def keep(self, caller: Caller, request: RelayedRequest, given: Given) -> None:
        """Raises: InsufficientStorage, DatabaseBusy."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._keep, ProjectId(caller.project_id), request.raw, given)

    def _keep(self, project_id: ProjectId, request: bytes, given: Given) -> None:
        completion = build_completion(request, given.body, given.usage, given.request_id)
        try:
            with project_session(self.database, project_id, write=True) as session:
                service.store_completion(session, completion, self.settings, now=self.clock())
        except DBAPIError as error:
            described = describe_failure(error)
            if described is None:
                raise
            raise described from error
