"""What the sweeper does about responses: those whose time is over go, and the oldest of a project that has too many."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from server.db.system_session import system_session
from server.responses import repository
from server.responses.retention import Retention


@dataclass(frozen=True)
class ResponseSweep:
    """Of all projects."""

    database: Engine
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

    def delete_beyond_bound(self, at_most: int) -> int:
        """Give how many were deleted."""
        with system_session(self.database) as session:
            beyond = {
                project_id: excess
                for project_id, total_bytes in repository.list_totals(session)
                if (excess := self.retention.excess(total_bytes)) > 0
            }
        n_deleted = 0
        for project_id, excess in beyond.items():
            with system_session(self.database, write=True) as session:
                for row in repository.list_oldest(session, project_id, limit=at_most - n_deleted):
                    if excess <= 0:
                        break
                    excess -= row.size_bytes
                    repository.delete_response(session, row)
                    n_deleted += 1
        return n_deleted
