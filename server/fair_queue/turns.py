"""Whose turn it is at an engine (pure): an equal share for each project that is busy, and one more for who comes next.

Of n busy projects each may hold 1/(n+1) of the places. A project that is alone has a half of them, which has to be
enough to saturate the engine, and whoever comes next finds the other half free and is let in at once.

That does not help whose few answers are worked on in one step with a hundred others: a step with many takes its time.
So while a light project is there, one that asked in the last minute and has little under way, the heavy ones together
have no more than a few places beside it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

_LIGHT = 2  # answers under way at most
_REMEMBERED_S = 60.0
_SWEEP_EVERY_S = 1.0


@dataclass
class _Project:
    seen_at: float
    answering: int = 0
    waiting: deque[Hashable] = field(default_factory=deque)  # tickets, the oldest first
    was_busy: bool = False  # when it was counted last
    was_heavy: bool = False

    @property
    def is_busy(self) -> bool:
        return bool(self.answering or self.waiting)


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
        self._answering = self._busy = self._heavy = 0
        self._swept_at = clock()
        self.entered_at = -math.inf  # when anybody asked last

    @property
    def answering(self) -> int:
        return self._answering

    @property
    def waiting(self) -> int:
        return sum(len(project.waiting) for project in self._queue.values())

    def under_way(self, project: str) -> int:
        """How many answers of a project there are, those that wait included."""
        found = self._known.get(project)
        return 0 if found is None else found.answering + len(found.waiting)

    def enter(self, project: str) -> bool:
        """Take a place, if the project has a right to one now; nobody of it is passed by."""
        now = self.entered_at = self._clock()
        if now - self._swept_at >= _SWEEP_EVERY_S:
            self._forget_long_idle(now)
        found = self._known.get(project)
        if found is None:
            found = self._known[project] = _Project(now)
        found.seen_at = now
        if found.waiting or not self._may_enter(found):
            return False
        self._let_in(found)
        return True

    def wait(self, project: str, ticket: Hashable) -> None:
        """Line up after `enter` said no."""
        found = self._known[project]
        found.waiting.append(ticket)
        self._queue.setdefault(project, found)
        self._count(found)

    def give_up(self, project: str, ticket: Hashable) -> bool:
        """Leave the line; False: it had its turn already, and has a place to give back."""
        found = self._known[project]
        if ticket not in found.waiting:
            return False
        found.waiting.remove(ticket)
        if not found.waiting:
            del self._queue[project]
        self._count(found)
        return True

    def leave(self, project: str) -> None:
        """Give a place back."""
        found = self._known[project]
        found.answering -= 1
        self._answering -= 1
        self._count(found)

    def next(self) -> Hashable | None:
        """Let the next one in and give its ticket: of the project with the fewest answers, in turn among equals."""
        chosen: tuple[str, _Project] | None = None
        for name, project in self._queue.items():
            if (chosen is None or project.answering < chosen[1].answering) and self._may_enter(project):
                chosen = name, project
        if chosen is None:
            return None
        name, project = chosen
        ticket = project.waiting.popleft()
        del self._queue[name]
        if project.waiting:
            self._queue[name] = project  # now the last in turn
        self._let_in(project)
        return ticket

    def _may_enter(self, project: _Project) -> bool:
        return self._answering < self._places and project.answering < self._share(project)

    def _share(self, project: _Project) -> int:
        share = self._places // (self._busy - project.was_busy + 2)
        other_heavy = self._heavy - project.was_heavy
        if other_heavy < len(self._known) - 1:  # some other is light
            share = min(share, max(_LIGHT, self._beside_light // (other_heavy + 1)))
        return max(1, share)

    def _let_in(self, project: _Project) -> None:
        project.answering += 1
        self._answering += 1
        self._count(project)

    def _count(self, project: _Project) -> None:
        """Keep the numbers of busy and of heavy projects, so that a request costs the same among many projects."""
        is_heavy = project.answering > _LIGHT or bool(project.waiting)
        is_busy = project.answering > 0 or is_heavy
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
