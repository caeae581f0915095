"""Runs the batches of all projects: in one thread of the worker, all in flight on one event loop.

All it knows is on the disk: a killed one leaves a batch as it was after the last result that was written.
"""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Event

from sqlalchemy.exc import DBAPIError

from server.batches import repository
from server.batches.course import BatchServices, Course, open_course
from server.batches.lifecycle import Step, next_step
from server.batches.outcomes import Kind, give_up
from server.batches.publishing import publish
from server.batches.results import Result
from server.batches.sending import BatchSender
from server.batches.threads import in_thread
from server.db.tables import BatchRow
from server.ids import new_batch_request_id
from server.placement.facts import EngineState
from server.placement.repository import placing, read_engines
from server.vocabulary import BatchStatus

_LOG = logging.getLogger("tunesmith.worker")
_LOOK_EVERY_S = 0.5
_WRITE_EVERY_S = 0.1  # what a kill can take of answers that came
_COUNT_EVERY_S = 1.0
_LATER_S = 30.0  # after a fault of one batch
_OPEN_OF_PROJECT, _OPEN = 8, 64  # batches at once; the others wait for their validation
_GIVEN_UP_AT_ONCE = 1000


class BatchRunner:
    def __init__(self, services: BatchServices) -> None:
        self._services = services
        self._sender = BatchSender(services)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}

    def run(self, stop: Event) -> None:
        """Work until told to stop, once no other worker does."""
        self._services.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._services.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _is_ours(lock):
                if stop.wait(_LOOK_EVERY_S):
                    return
            asyncio.run(self.work(stop))
        finally:
            os.close(lock)

    async def work(self, stop: Event) -> None:
        try:
            while not stop.is_set():
                try:
                    await self._look()
                except DBAPIError as error:
                    _LOG.error("the batches could not be looked at: %s", type(error).__name__)
                self._sender.send()
                await self._services.pause(_LOOK_EVERY_S)
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _look(self) -> None:
        """See which batches there are, and how they and the engines stand."""
        rows, away = await asyncio.to_thread(self._read)
        now = self._services.clock()
        self._sender.see(away)
        for batch_id, task in list(self._following.items()):
            if task.done():
                del self._following[batch_id]
                self._put_off_faulty(batch_id, task.exception())
        for row in rows:
            is_behind = row.status is BatchStatus.VALIDATING  # read before its course began
            if row.id in self._sender.courses and not is_behind:
                self._sender.courses[row.id].row = row
        for row in _open_ones(rows, self._following):
            if self._not_before.get(row.id, 0.0) <= now:
                self._following[row.id] = asyncio.create_task(self._follow(row.id))

    def _read(self) -> tuple[Sequence[BatchRow], frozenset[str]]:
        rows = repository.list_unfinished(self._services.database)
        if not rows:
            self._delete_leftovers()
        with placing(self._services.database) as session:
            engines = read_engines(session)
        return rows, frozenset(name for name, found in engines.items() if found.state is not EngineState.READY)

    def _put_off_faulty(self, batch_id: str, fault: BaseException | None) -> None:
        if fault is None:
            self._not_before.pop(batch_id, None)
            return
        if not isinstance(fault, Exception):
            raise fault
        _LOG.error("batch %s broke off, and goes on later: %s", batch_id, type(fault).__name__)
        self._not_before[batch_id] = self._services.clock() + _LATER_S

    async def _follow(self, batch_id: str) -> None:
        course = await in_thread(open_course, self._services, batch_id, undo=_close)
        if course is None:
            return
        self._sender.courses[batch_id] = course
        try:
            await self._run(course)
            await in_thread(self._end, course)
        finally:
            del self._sender.courses[batch_id]
            course.close()

    async def _run(self, course: Course) -> None:
        """Have requests answered until there are none left, or no time."""
        self._sender.add(course)
        try:
            while self._step_of(course) not in (Step.PUBLISH, Step.GIVE_UP):
                await self._services.pause(_WRITE_EVERY_S)
                if course.fault is not None:
                    raise course.fault
                await self._record(course)
        finally:
            await self._sender.remove(course)
        await self._record(course)

    def _step_of(self, course: Course) -> Step:
        row = course.row
        has_unanswered = bool(course.results.unanswered)
        return next_step(
            row.status, has_unanswered=has_unanswered, expires_at=row.expires_at, now=self._services.clock()
        )

    async def _record(self, course: Course) -> None:
        """Make durable what has arrived, and show it now and then."""
        arrived, course.arrived = course.arrived, []
        if arrived:
            await in_thread(course.results.append, arrived)
        now, tally = self._services.clock(), course.results.tally
        is_news = tally.completed + tally.failed != course.row.completed + course.row.failed
        if is_news and now - course.counted_at >= _COUNT_EVERY_S:
            course.counted_at = now
            await in_thread(repository.count, self._services.database, course.row.id, tally)

    def _end(self, course: Course) -> None:
        """Give what is left an error for an answer, and publish."""
        services, batch_id = self._services, course.row.id
        kind = Kind.CANCELLED if course.row.status is BatchStatus.CANCELLING else Kind.EXPIRED
        while left := _first(course.unanswered(), _GIVEN_UP_AT_ONCE):
            given_up = [give_up(course.read(request), kind, new_batch_request_id()) for request in left]
            course.results.append([Result(*pair) for pair in zip(left, given_up, strict=True)])
        row = repository.finalize(services.database, batch_id, course.results.tally, now=services.clock())
        publish(services.database, services.blobs, row, course.results, now=services.clock())
        shutil.rmtree(course.directory, ignore_errors=True)

    def _delete_leftovers(self) -> None:
        """What a kill left of batches that have ended."""
        for path in self._services.root.iterdir():
            if path.is_dir():
                with suppress(OSError):
                    shutil.rmtree(path)


def _close(course: Course | None) -> None:
    if course is not None:
        course.close()


def _open_ones(rows: Sequence[BatchRow], following: Iterable[str]) -> list[BatchRow]:
    """The batches to begin with: the oldest of each project, as many as may be open."""
    followed = set(following)
    of_project: dict[str, int] = {}
    for row in rows:
        of_project[row.project_id] = of_project.get(row.project_id, 0) + (row.id in followed)
    chosen: list[BatchRow] = []
    for row in rows:
        is_room = of_project[row.project_id] < _OPEN_OF_PROJECT and len(followed) + len(chosen) < _OPEN
        if row.id not in followed and is_room:
            of_project[row.project_id] += 1
            chosen.append(row)
    return chosen


def _first(requests: Iterable[int], most: int) -> list[int]:
    return [request for request, _ in zip(requests, range(most), strict=False)]


def _is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
