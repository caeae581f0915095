"""Which request that nobody waits for takes a place that the others leave (pure)."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from server.fair_queue.turns import LetIn, Waiting

_PART = 4
RECENT_S = 10.0  # after a client's request, another may come at any moment


@dataclass(frozen=True)
class Foreground:
    """How it stands with clients' requests at an engine."""

    taken: int  # places
    waiting: int
    is_recent: bool  # one came within `RECENT_S`, or is answered now


def background_places(places: int, beside_live: int, live: Foreground) -> int:
    """Say how many places there are in the background: a quarter without clients, a few beside them, none before them.

    A quarter all but saturates an engine, and is what the first client after a quiet time meets.
    One is left as long as the clients' own places are not all taken, so that no stream of requests stops it for good.
    """
    if live.waiting or live.taken >= places:
        return 0
    if not live.is_recent:
        return max(1, places // _PART)
    return max(1, min(beside_live, places // _PART - live.taken))


@dataclass
class _Project:
    taken: int = 0  # places
    answering: int = 0  # requests
    waiting: deque[Waiting] = field(default_factory=deque)  # the oldest first


class BackgroundTurns:
    """Of one engine: an equal share for each project."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}  # in the order of turns
        self.answering = 0  # requests
        self._taken = 0  # places

    @property
    def waiting(self) -> int:
        return sum(len(project.waiting) for project in self._projects.values())

    def wait(self, project: str, ticket: Hashable, n: int = 1) -> None:
        self._projects.setdefault(project, _Project()).waiting.append(Waiting(ticket, n))

    def give_up(self, project: str, ticket: Hashable) -> bool:
        """Leave the line; False: it had its turn already, and has places to give back."""
        line = self._projects[project].waiting
        waiting = next((one for one in line if one.ticket == ticket), None)
        if waiting is None:
            return False
        line.remove(waiting)
        self._forget_idle(project)
        return True

    def leave(self, project: str, places: int = 1) -> None:
        self._projects[project].answering -= 1
        self.answering -= 1
        self._projects[project].taken -= places
        self._taken -= places
        self._forget_idle(project)

    def next(self, places: int) -> LetIn | None:
        """Let the next one in, of the project with the fewest places, if fewer than `places` are taken."""
        waiting = [(name, project) for name, project in self._projects.items() if project.waiting]
        if not waiting or self._taken >= places:
            return None
        name, project = min(waiting, key=lambda item: item[1].taken)
        self._projects[name] = self._projects.pop(name)  # now the last in turn
        ticket, n = project.waiting.popleft()
        project.answering += 1
        self.answering += 1
        project.taken += n
        self._taken += n
        return LetIn(ticket, n)

    def _forget_idle(self, name: str) -> None:
        project = self._projects[name]
        if not project.answering and not project.waiting:
            del self._projects[name]
