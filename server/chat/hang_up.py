"""Work for a client that ends when the client hangs up: nobody reads an answer, and the engine is to know it."""

import asyncio
from types import TracebackType

from starlette.types import Receive

_PATIENCE_S = 0.25


class UntilHangUp:
    """A context; leaving it by a hang-up looks like leaving it at its end, and then `is_gone` is true.

    Most answers are given sooner than it begins to watch: a task for each of them would cost more than the rest.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self.is_gone = False

    def __enter__(self) -> "UntilHangUp":
        self._loop = asyncio.get_running_loop()
        self._working = asyncio.current_task(self._loop)
        self._timer = self._loop.call_later(_PATIENCE_S, self._begin)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if not self.is_gone or self._working is None:
            return False
        is_cancelled_by_others = self._working.uncancel() > 0
        return isinstance(error, asyncio.CancelledError) and not is_cancelled_by_others

    def _begin(self) -> None:
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._working is not None:
            self.is_gone = True
            self._working.cancel()
