"""What the sweeper does about responses: those whose time is over go, those that a kill left are ended."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Engine

from server.db.system_session import system_session
from server.name_locks import NameLocks
from server.responses import keeping, repository
from server.responses.retention import Retention


@dataclass(frozen=True)
class ResponseSweep:
    """Of all projects."""

    database: Engine
    locks: NameLocks
    retention: Retention
    clock: Callable[[], float]  # unix seconds

    def delete_old(self, at_most: int) -> int:
        """Give how many were deleted."""
        with system_session(self.database, write=True) as session:
            since = self.retention.since(self.clock())
            old = repository.list_created_before(session, before=since, limit=at_most)
            for row in old:
                repository.delete_response(session, row)
        return len(old)

    def give_up_abandoned(self, at_most: int) -> int:
        """End what no process works on any more. Give how many were ended."""
        with system_session(self.database) as session:
            runners = repository.list_runners(session)
        for runner in runners:
            if keeping.is_abandoned(self.locks, runner):
                with system_session(self.database, write=True) as session:
                    rows = repository.list_of_runner(session, runner, limit=at_most)
                    for row in rows:
                        keeping.give_up(row)
                return len(rows)
        return 0


def give_up_lost(database: Engine, runner: str, lost: Collection[str]) -> None:
    """End those of a process's responses that it does not work on, whose end could not be written down."""
    with system_session(database, write=True) as session:
        for row in repository.list_of_runner(session, runner):
            if row.id in lost:
                keeping.give_up(row)
