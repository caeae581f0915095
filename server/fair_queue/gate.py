"""The gate in front of an engine: requests wait here in turn, and not in the engine, where all projects are one."""

import asyncio
import time
from collections.abc import Callable, Hashable

from server.errors import Busy, TooManyRequests
from server.fair_queue.background import RECENT_S, BackgroundTurns, Foreground, background_places
from server.fair_queue.turns import Turns


class TooManyAnswers(TooManyRequests):
    """The project has as many answers under way as it may."""

    retry_after_s = 1


class Gate:
    """For one event loop. `enter` and `leave` come in pairs."""

    def __init__(
        self,
        places: int,
        *,
        max_wait_s: float,
        beside_light: int | None = None,
        background_beside_live: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._beside_live = background_beside_live
        self._background = BackgroundTurns()
        self.has_background = False  # anything ever was
        self._turns = Turns(places, beside_light=beside_light, clock=clock)
        self._max_wait_s = max_wait_s
        self._clock = clock

    @property
    def answering(self) -> int:
        return self._turns.answering

    @property
    def waiting(self) -> int:
        return self._turns.waiting

    @property
    def in_background(self) -> tuple[int, int]:
        """How many are answered and how many wait there."""
        return self._background.answering, self._background.waiting

    async def enter(self, project: str, *, at_most: int | None) -> float:
        """Wait for a place; gives for how many seconds that was. `at_most`: answers of the project at once.

        Raises:
            TooManyAnswers: it has that many already.
            Busy: no place became free in time.
        """
        if at_most is not None and self._turns.under_way(project) >= at_most:
            raise TooManyAnswers(
                f"Too many answers under way: at most {at_most} at once. Please wait for one to end.",
                code="rate_limit_exceeded",
            )
        if self._turns.enter(project):
            return 0.0
        return await self._wait(project)

    def leave(self, project: str) -> None:
        self._turns.leave(project)
        self._let_in()

    async def enter_background(self, project: str) -> float:
        """Wait, for as long as it takes, for a place that others leave; gives for how many seconds that was."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began = self._clock()
        self.has_background = True
        self._background.wait(project, ticket)
        self._let_in()
        try:
            await ticket
        except BaseException:
            if not self._background.give_up(project, ticket):
                self._background.leave(project)
            self._let_in()
            raise
        return self._clock() - began

    def leave_background(self, project: str) -> None:
        self._background.leave(project)
        self._let_in()

    async def _wait(self, project: str) -> float:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began = self._clock()
        self._turns.wait(project, ticket)
        try:
            async with asyncio.timeout(self._max_wait_s):
                await ticket
        except BaseException as error:
            self._give_back(project, ticket)
            if isinstance(error, TimeoutError):
                raise Busy("The model is busy with other requests. Please try again later.") from error
            raise
        return self._clock() - began

    def _give_back(self, project: str, ticket: asyncio.Future[None]) -> None:
        """Leave the line, or the place, which may have come in the same moment as the end of the wait.

        The ticket does not say which: of several that end their waits together, one that leaves lets another in.
        """
        if not self._turns.give_up(project, ticket):
            self._turns.leave(project)
        self._let_in()

    def _let_in(self) -> None:
        while (ticket := self._turns.next() or self._next_in_background()) is not None:
            assert isinstance(ticket, asyncio.Future)
            if not ticket.done():
                ticket.set_result(None)

    def _next_in_background(self) -> Hashable | None:
        if not self._background.waiting:
            return None
        turns = self._turns
        is_recent = bool(turns.answering) or self._clock() - turns.entered_at < RECENT_S
        live = Foreground(turns.answering, turns.waiting, is_recent)
        return self._background.next(background_places(self._places, self._beside_live, live))
