"""Whose turn it is at an engine (pure): an equal share for each project that is busy, and one more for who comes next.

Of n busy projects each may hold 1/(n+1) of the places. A project that is alone has a half of them, which has to be
enough to saturate the engine, and whoever comes next finds the other half free and is let in at once.

A request that has the engine make several answers, or read several texts, takes as many places, but no more than its
project's share: it is let in when its project has nothing else under way.

That does not help whose few answers are worked on in one step with a hundred others: a step with many takes its time.
So while a light project is there, one that asked in the last minute and has little under way, the heavy ones together
have no more than a few places beside it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

_LIGHT = 2  # places at most
_REMEMBERED_S = 60.0
_SWEEP_EVERY_S = 1.0


class Waiting(NamedTuple):
    ticket: Hashable
    n: int  # answers that it asks for


class LetIn(NamedTuple):
    ticket: Hashable
    places: int  # that it was given, to be given back


@dataclass
class _Project:
    seen_at: float
    taken: int = 0  # places
    answering: int = 0  # requests
    waiting: deque[Waiting] = field(default_factory=deque)  # the oldest first
    was_busy: bool = False  # when it was counted last
    was_heavy: bool = False

    @property
    def is_busy(self) -> bool:
        return bool(self.taken or self.waiting)


class Turns:
    """The places of one engine. Tickets are any objects, each in here once."""

    def __init__(
        self, places: int, *, beside_light: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`beside_light`: places of all heavy projects together while there is a light one; None: as always."""
        self._places = places
        self._beside_light = places if beside_light is None else beside_light
        self._clock = clock
        self._known: dict[str, _Project] = {}  # busy now, or seen in the last minute
        self._queue: dict[str, _Project] = {}  # those that wait, in the order of turns
        self._answering = self._taken = self._busy = self._heavy = 0
        self._swept_at = clock()
        self.entered_at = -math.inf  # when anybody asked last

    @property
    def answering(self) -> int:
        """How many requests are let in."""
        return self._answering

    @property
    def taken(self) -> int:
        """How many places they have."""
        return self._taken

    @property
    def waiting(self) -> int:
        return sum(len(project.waiting) for project in self._queue.values())

    def under_way(self, project: str) -> int:
        """How many requests of a project there are, those that wait included."""
        found = self._known.get(project)
        return 0 if found is None else found.answering + len(found.waiting)

    def enter(self, project: str, n: int = 1) -> int:
        """Take the places of a request for n answers, if the project has a right to them now; nobody is passed by.

        Gives how many places it took; 0: none.
        """
        now = self.entered_at = self._clock()
        if now - self._swept_at >= _SWEEP_EVERY_S:
            self._forget_long_idle(now)
        found = self._known.get(project)
        if found is None:
            found = self._known[project] = _Project(now)
        found.seen_at = now
        if found.waiting or not self._may_enter(found, n):
            return 0
        return self._let_in(found, n)

    def wait(self, project: str, ticket: Hashable, n: int = 1) -> None:
        """Line up after `enter` said no."""
        found = self._known[project]
        found.waiting.append(Waiting(ticket, n))
        self._queue.setdefault(project, found)
        self._count(found)

    def give_up(self, project: str, ticket: Hashable) -> bool:
        """Leave the line; False: it had its turn already, and has places to give back."""
        found = self._known[project]
        waiting = next((one for one in found.waiting if one.ticket == ticket), None)
        if waiting is None:
            return False
        found.waiting.remove(waiting)
        if not found.waiting:
            del self._queue[project]
        self._count(found)
        return True

    def leave(self, project: str, places: int = 1) -> None:
        """Give back what a request had."""
        found = self._known[project]
        found.answering -= 1
        self._answering -= 1
        found.taken -= places
        self._taken -= places
        self._count(found)

    def next(self) -> LetIn | None:
        """Let the next one in: of the project with the fewest places, in turn among equals."""
        chosen: tuple[str, _Project] | None = None
        for name, project in self._queue.items():
            if (chosen is None or project.taken < chosen[1].taken) and self._may_enter(project, project.waiting[0].n):
                chosen = name, project
        if chosen is None:
            return None
        name, project = chosen
        ticket, n = project.waiting.popleft()
        del self._queue[name]
        if project.waiting:
            self._queue[name] = project  # now the last in turn
        return LetIn(ticket, self._let_in(project, n))

    def _may_enter(self, project: _Project, n: int) -> bool:
        share = self._share(project)
        return self._taken < self._places and (not project.taken or project.taken + min(n, share) <= share)

    def _share(self, project: _Project) -> int:
        share = self._places // (self._busy - project.was_busy + 2)
        other_heavy = self._heavy - project.was_heavy
        if other_heavy < len(self._known) - 1:  # some other is light
            share = min(share, max(_LIGHT, self._beside_light // (other_heavy + 1)))
        return max(1, share)

    def _let_in(self, project: _Project, n: int) -> int:
        places = min(n, self._share(project), self._places - self._taken)
        project.answering += 1
        self._answering += 1
        project.taken += places
        self._taken += places
        self._count(project)
        return places

    def _count(self, project: _Project) -> None:
        """Keep the numbers of busy and of heavy projects, so that a request costs the same among many projects."""
        is_heavy = project.taken > _LIGHT or bool(project.waiting)
        is_busy = project.taken > 0 or is_heavy
        if is_busy != project.was_busy:
            self._busy += is_busy - project.was_busy
            project.was_busy = is_busy
        if is_heavy != project.was_heavy:
            self._heavy += is_heavy - project.was_heavy
            project.was_heavy = is_heavy

    def _forget_long_idle(self, now: float) -> None:
        """Of an idle project nothing is left to know but that it may come again soon."""
        self._swept_at = now
        long_idle = [
            name
            for name, project in self._known.items()
            if not project.is_busy and now - project.seen_at > _REMEMBERED_S
        ]
        for name in long_idle:
            del self._known[name]
