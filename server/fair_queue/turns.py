"""Whose turn it is at an engine (pure): an equal share for each project that is busy, and one more for who comes next.

Of n busy projects each may hold 1/(n+1) of the places. A project that is alone has a half of them, which has to be
enough to saturate the engine, and whoever comes next finds the other half free and is let in at once.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass
class _Project:
    answering: int = 0
    waiting: deque[Hashable] = field(default_factory=deque)  # tickets, the oldest first


class Turns:
    """The places of one engine. Tickets are any objects, each in here once."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._busy: dict[str, _Project] = {}  # in the order of turns: who came or was let in last is last
        self._answering = 0

    @property
    def answering(self) -> int:
        return self._answering

    @property
    def waiting(self) -> int:
        return sum(len(project.waiting) for project in self._busy.values())

    def under_way(self, project: str) -> int:
        """How many answers of a project there are, those that wait included."""
        found = self._busy.get(project)
        return 0 if found is None else found.answering + len(found.waiting)

    def enter(self, project: str) -> bool:
        """Take a place, if the project has a right to one now; nobody of it is passed by."""
        found = self._busy.get(project)
        if found is None:
            found = self._busy[project] = _Project()
        if found.waiting or not self._may_enter(found):
            return False
        self._let_in(project, found)
        return True

    def wait(self, project: str, ticket: Hashable) -> None:
        """Line up after `enter` said no."""
        self._busy[project].waiting.append(ticket)

    def give_up(self, project: str, ticket: Hashable) -> None:
        """Leave the line."""
        found = self._busy[project]
        found.waiting.remove(ticket)
        self._forget_if_idle(project, found)

    def leave(self, project: str) -> None:
        """Give a place back."""
        found = self._busy[project]
        found.answering -= 1
        self._answering -= 1
        self._forget_if_idle(project, found)

    def next(self) -> Hashable | None:
        """Let the next one in and give its ticket: of the project with the fewest answers, in turn among equals."""
        chosen: tuple[str, _Project] | None = None
        for name, project in self._busy.items():
            fewer = chosen is None or project.answering < chosen[1].answering
            if project.waiting and fewer and self._may_enter(project):
                chosen = name, project
        if chosen is None:
            return None
        self._let_in(*chosen)
        return chosen[1].waiting.popleft()

    def _may_enter(self, project: _Project) -> bool:
        share = max(1, self._places // (len(self._busy) + 1))
        return self._answering < self._places and project.answering < share

    def _let_in(self, name: str, project: _Project) -> None:
        project.answering += 1
        self._answering += 1
        self._busy[name] = self._busy.pop(name)

    def _forget_if_idle(self, name: str, project: _Project) -> None:
        if not project.answering and not project.waiting:
            del self._busy[name]
