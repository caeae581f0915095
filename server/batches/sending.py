"""Sends the requests of all batches in their turns, and takes what comes of them to their course."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import orjson

from server.batches.asking import Request, Unreachable
from server.batches.course import BatchServices, Course, Tries
from server.batches.outcomes import Again, Outcome, conclude, judge, refuse_stream
from server.batches.results import Result
from server.batches.turns import BatchTurns, Ticket
from server.ids import new_batch_request_id, new_request_id


@dataclass
class BatchSender:
    """Belongs to one event loop."""

    services: BatchServices
    courses: dict[str, Course] = field(default_factory=dict)  # by batch
    away: frozenset[str] = frozenset()  # engines
    turns: BatchTurns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = BatchTurns(self.services.most_at_once)

    def see(self, away: frozenset[str]) -> None:
        self.away = away
        self.turns.see(away, self.services.clock())

    def add(self, course: Course) -> None:
        self.turns.add(course.row.id, course.row.project_id, course.requests())
        self.send()

    async def remove(self, course: Course) -> None:
        """End what is under way; what has arrived stays with the course."""
        self.turns.remove(course.row.id)
        asking = list(course.asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def send(self) -> None:
        """Send as many requests as may be under way."""
        while (ticket := self.turns.next(self.services.clock())) is not None:
            course = self.courses[ticket.batch]
            task = asyncio.create_task(self._ask(course, ticket))
            course.asking[ticket.request] = task
            task.add_done_callback(partial(self._forget, course, ticket))

    def _forget(self, course: Course, ticket: Ticket, task: "asyncio.Task[None]") -> None:
        del course.asking[ticket.request]
        if task.cancelled():
            self.turns.dropped(ticket)
        elif (fault := task.exception()) is not None:
            self.turns.dropped(ticket)
            course.fault = fault
        else:
            self.send()

    async def _ask(self, course: Course, ticket: Ticket) -> None:
        found = await self._try(course, ticket)
        now = self.services.clock()
        if found is Again.FAULT:
            self.turns.dropped(ticket)
        else:
            self.turns.ended(ticket, has_answered=isinstance(found, Outcome), now=now)
        if isinstance(found, Outcome):
            course.tries.pop(ticket.request, None)
            course.arrived.append(Result(ticket.request, found))
            return
        tries = course.tries.setdefault(ticket.request, Tries())
        self.turns.put_off(ticket, tries=tries.times, now=now)
        tries.times += 1

    async def _try(self, course: Course, ticket: Ticket) -> Outcome | Again:
        line, row, was_ready = course.read(ticket.request), course.row, ticket.engine not in self.away
        if line.is_streamed:
            return refuse_stream(line, new_batch_request_id(), new_request_id())
        try:
            body = orjson.dumps(line.body)
            answer = await self.services.ask(Request(row.endpoint, row.project_id, row.key_id, body))
        except Unreachable:
            return Again.AWAY
        tries = course.tries.get(ticket.request, Tries())
        again = judge(answer, engine_was_ready=was_ready, falls=tries.falls, faults=tries.faults)
        if again is None:
            return conclude(line, answer, new_batch_request_id())
        if again is not Again.AWAY:
            tries = course.tries.setdefault(ticket.request, tries)
            tries.falls += again is Again.FELL
            tries.faults += again is Again.FAULT
        return again
