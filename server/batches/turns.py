"""Which request of which batch is sent next (pure): a fair share for each project, and no more than an engine answers.

An engine is sent as many requests at once as it has shown that it answers: one, then one more for each answer, and
half as many after a failure. One that is away is sent a single one, which is what makes it come, and only when nothing
is left to do at those that are there, or after some minutes: batches take engines as they find them.
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_PATIENCE_S = 300.0  # until an engine is called though others are busy


class Ticket(NamedTuple):
    batch: str
    engine: str
    request: int


@dataclass
class _Engine:
    at_once: float = 1
    under_way: int = 0
    not_before: float = 0.0
    failures: int = 0  # since the last answer
    is_away: bool = False
    away_since: float = 0.0


@dataclass
class _Queue:
    """Requests of one batch to one engine."""

    fresh: deque[int]  # in the order of their models: an engine has not to change its adapters more than once
    put_off: list[tuple[float, int]] = field(default_factory=list)  # when, and which: a heap

    def has_due(self, now: float) -> bool:
        return bool(self.fresh) or bool(self.put_off and self.put_off[0][0] <= now)

    def take(self, now: float) -> int:
        if self.put_off and self.put_off[0][0] <= now:
            return heapq.heappop(self.put_off)[1]
        return self.fresh.popleft()


@dataclass
class _Batch:
    project: str
    queues: dict[str, _Queue]
    under_way: int = 0
    served: int = 0  # the number of its last turn


class BatchTurns:
    """All times are seconds of one clock."""

    def __init__(self, most: int) -> None:
        self._most = most  # requests at once, of all batches
        self._engines: dict[str, _Engine] = {}
        self._batches: dict[str, _Batch] = {}
        self._turn = 0

    def add(self, batch: str, project: str, requests: Iterable[tuple[str, int]]) -> None:
        """`requests`: engine and number, in the order in which they are best sent."""
        queues: dict[str, _Queue] = {}
        for engine, request in requests:
            queues.setdefault(engine, _Queue(deque())).fresh.append(request)
        self._batches[batch] = _Batch(project, queues)

    def remove(self, batch: str) -> None:
        """Idempotent. What is under way is still to be reported."""
        self._batches.pop(batch, None)

    def see(self, away: Collection[str], now: float) -> None:
        """Take note of which engines are away; one that came is asked at once."""
        for name in away:
            engine = self._engines.setdefault(name, _Engine())
            if not engine.is_away:
                engine.is_away, engine.away_since = True, now
        for name, engine in self._engines.items():
            if engine.is_away and name not in away:
                engine.is_away, engine.not_before, engine.failures = False, now, 0

    def next(self, now: float) -> Ticket | None:
        """Take the next request; `ended` is owed for it."""
        if sum(engine.under_way for engine in self._engines.values()) >= self._most:
            return None
        is_busy = self._has_work_at_hand(now)
        of_project: dict[str, int] = {}
        for batch in self._batches.values():
            of_project[batch.project] = of_project.get(batch.project, 0) + batch.under_way
        order = sorted(
            self._batches.items(),
            key=lambda item: (of_project[item[1].project], item[1].under_way, item[1].served),
        )
        for name, batch in order:
            for engine, queue in batch.queues.items():
                if queue.has_due(now) and self._may_be_asked(engine, is_busy, now):
                    return self._take(name, engine, now)
        return None

    def ended(self, ticket: Ticket, *, has_answered: bool, now: float) -> None:
        """A request is not under way any more. `has_answered`: the engine did what it could be asked."""
        self.dropped(ticket)
        engine = self._engines[ticket.engine]
        if has_answered:
            engine.failures = 0
            engine.at_once = min(engine.at_once + 1, self._most)
        elif now >= engine.not_before:  # of many that fail together, the first counts
            engine.at_once = max(1.0, engine.at_once / 2)
            engine.not_before = now + min(_FIRST_WAIT_S * 2.0**engine.failures, _LONGEST_WAIT_S)
            engine.failures += 1

    def dropped(self, ticket: Ticket) -> None:
        """A request is not under way any more, and nobody knows what would have become of it."""
        self._engines[ticket.engine].under_way -= 1
        if (batch := self._batches.get(ticket.batch)) is not None:
            batch.under_way -= 1

    def put_off(self, ticket: Ticket, *, tries: int, now: float) -> None:
        """Have a request sent again, the later the more often it was tried."""
        batch = self._batches.get(ticket.batch)
        if batch is not None:
            at = now + min(_FIRST_WAIT_S * 2.0 ** min(tries, 10), _LONGEST_WAIT_S)
            heapq.heappush(batch.queues[ticket.engine].put_off, (at, ticket.request))

    def _take(self, name: str, engine: str, now: float) -> Ticket:
        batch = self._batches[name]
        self._turn += 1
        batch.served, batch.under_way = self._turn, batch.under_way + 1
        self._engines[engine].under_way += 1
        return Ticket(name, engine, batch.queues[engine].take(now))

    def _may_be_asked(self, name: str, is_busy: bool, now: float) -> bool:
        engine = self._engines.setdefault(name, _Engine())
        if now < engine.not_before:
            return False
        if not engine.is_away:
            return engine.under_way < int(engine.at_once)
        if engine.under_way:
            return False
        others = sum(other.under_way for other in self._engines.values() if other.is_away)
        return not others and (not is_busy or now - engine.away_since >= _PATIENCE_S)

    def _has_work_at_hand(self, now: float) -> bool:
        """Whether there is something to do at engines that are there."""
        if any(engine.under_way for engine in self._engines.values() if not engine.is_away):
            return True
        return any(
            queue.has_due(now) and not self._engines.setdefault(engine, _Engine()).is_away
            for batch in self._batches.values()
            for engine, queue in batch.queues.items()
        )
