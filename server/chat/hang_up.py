"""Work for a client that ends when the client hangs up: nobody reads an answer, and the engine is to know it."""

import asyncio
from types import TracebackType

from starlette.types import Receive

_LOOK_S = 0.25


class HangUps:
    """Watches over the clients of all work that lasts. Belongs to one event loop.

    Most answers are given sooner than it looks: a task or a timer for each of them would cost more than it is worth.
    """

    def __init__(self) -> None:
        self._working: dict[UntilHangUp, None] = {}  # not watched yet, oldest first
        self._is_looking = False

    def until(self, receive: Receive) -> "UntilHangUp":
        return UntilHangUp(self, receive)

    def begin(self, work: "UntilHangUp") -> None:
        self._working[work] = None
        if not self._is_looking:
            self._look(0)

    def end(self, work: "UntilHangUp") -> None:
        self._working.pop(work, None)

    def _look(self, n_old: int) -> None:
        """Watch what has been there at the last look, the first so many of what is not watched."""
        for work in list(self._working)[:n_old]:
            del self._working[work]
            work.watch()
        self._is_looking = bool(self._working)
        if self._is_looking:
            asyncio.get_running_loop().call_later(_LOOK_S, self._look, len(self._working))


class UntilHangUp:
    """A context; leaving it by a hang-up looks like leaving it at its end."""

    def __init__(self, hang_ups: HangUps, receive: Receive) -> None:
        self._hang_ups = hang_ups
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._is_gone = False

    def __enter__(self) -> None:
        self._working = asyncio.current_task()
        self._hang_ups.begin(self)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        self._hang_ups.end(self)
        if self._watching is not None:
            self._watching.cancel()
        if not self._is_gone or self._working is None:
            return False
        is_cancelled_by_others = self._working.uncancel() > 0
        return isinstance(error, asyncio.CancelledError) and not is_cancelled_by_others

    def watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._working is not None:
            self._is_gone = True
            self._working.cancel()
