"""The gate in front of an engine: requests wait here in turn, and not in the engine, where all projects are one."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from server.errors import Busy, TooManyRequests
from server.fair_queue.background import RECENT_S, BackgroundTurns, Foreground, background_places
from server.fair_queue.turns import LetIn, Turns


class TooManyAnswers(TooManyRequests):
    """The project has as many answers under way as it may."""

    retry_after_s = 1


class Entered(NamedTuple):
    waited_s: float
    places: int  # to be given back


class Gate:
    """For one event loop. `enter` and `leave` come in pairs, as do those of the background."""

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
        self._given: dict[asyncio.Future[None], int] = {}  # places, by tickets whose turn came
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

    async def enter(self, project: str, *, at_most: int | None, n: int = 1) -> Entered:
        """Wait for the places of a request for n answers. `at_most`: requests of the project at once.

        Raises:
            TooManyAnswers: it has that many already.
            Busy: they did not become free in time.
        """
        if at_most is not None and self._turns.under_way(project) >= at_most:
            raise TooManyAnswers(
                f"Too many answers under way: at most {at_most} at once. Please wait for one to end.",
                code="rate_limit_exceeded",
            )
        places = self._turns.enter(project, n)
        return Entered(0.0, places) if places else await self._wait(project, n)

    def leave(self, project: str, places: int = 1) -> None:
        self._turns.leave(project, places)
        self._let_in()

    async def enter_background(self, project: str, *, n: int = 1) -> Entered:
        """Wait, for as long as it takes, for places that others leave."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began = self._clock()
        self.has_background = True
        self._background.wait(project, ticket, n)
        self._let_in()
        try:
            await ticket
        except BaseException:
            if not self._background.give_up(project, ticket):
                self._background.leave(project, self._given.pop(ticket))
            self._let_in()
            raise
        return Entered(self._clock() - began, self._given.pop(ticket))

    def leave_background(self, project: str, places: int = 1) -> None:
        self._background.leave(project, places)
        self._let_in()

    async def _wait(self, project: str, n: int) -> Entered:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        began = self._clock()
        self._turns.wait(project, ticket, n)
        try:
            async with asyncio.timeout(self._max_wait_s):
                await ticket
        except BaseException as error:
            self._give_back(project, ticket)
            if isinstance(error, TimeoutError):
                raise Busy("The model is busy with other requests. Please try again later.") from error
            raise
        return Entered(self._clock() - began, self._given.pop(ticket))

    def _give_back(self, project: str, ticket: asyncio.Future[None]) -> None:
        """Leave the line, or the places, which may have come in the same moment as the end of the wait.

        The ticket does not say which: of several that end their waits together, one that leaves lets another in.
        """
        if not self._turns.give_up(project, ticket):
            self._turns.leave(project, self._given.pop(ticket))
        self._let_in()

    def _let_in(self) -> None:
        while (let_in := self._turns.next() or self._next_in_background()) is not None:
            ticket = let_in.ticket
            assert isinstance(ticket, asyncio.Future)
            self._given[ticket] = let_in.places
            if not ticket.done():
                ticket.set_result(None)

    def _next_in_background(self) -> LetIn | None:
        if not self._background.waiting:
            return None
        turns = self._turns
        is_recent = bool(turns.taken) or self._clock() - turns.entered_at < RECENT_S
        live = Foreground(turns.taken, turns.waiting, is_recent)
        return self._background.next(background_places(self._places, self._beside_live, live))
