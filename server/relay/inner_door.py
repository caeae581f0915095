"""The relay's door within the service: requests of the worker, for which no client waits, on behalf of a project."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from server.db.remembered import Remembered
from server.errors import ApiError, NotFound
from server.ids import new_request_id
from server.relay.accounts import Caller
from server.relay.inner import InnerAnswer
from server.relay.operation import Operation
from server.relay.relay import Relay


class InnerRequest(NamedTuple):
    path: bytes  # of the public route
    project_id: str
    key_id: str  # for which it is counted; it need not be valid any more
    body: bytes


@dataclass(frozen=True)
class InnerDoor:
    """Belongs to the relay's event loop."""

    relay: Relay
    operations: Mapping[bytes, Operation[Any]]  # by path
    find_caller: Callable[[str, str], Caller | None]  # by project and key; may block
    _callers: Remembered[tuple[str, str], Caller] = field(default_factory=lambda: Remembered(most=1000))

    async def ask(self, request: InnerRequest) -> InnerAnswer:
        """Answer as the public route would."""
        try:
            return await self.relay.ask(self._operation(request.path), await self._caller(request), request.body)
        except ApiError as error:
            return InnerAnswer(error.status, new_request_id(), orjson.dumps(error.body()))

    def _operation(self, path: bytes) -> Operation[Any]:
        try:
            return self.operations[path]
        except KeyError:
            raise NotFound("This server has no such endpoint any more.", code="unknown_url") from None

    async def _caller(self, request: InnerRequest) -> Caller:
        key = (request.project_id, request.key_id)
        caller = await self._callers.find(key, self.relay.version(), lambda: self.find_caller(*key))
        if caller is None:
            raise NotFound("The project does not exist any more.")
        return caller
