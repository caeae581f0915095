"""Responses in the background whose process is gone, for another one to go on with."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Engine

from server.db.system_session import system_session
from server.name_locks import NameLocks
from server.responses import keeping, repository

_MOST_RUNNERS = 10  # that take a response up: perhaps it is what ends them


class Left(NamedTuple):
    project_id: str
    key_id: str  # that asked
    response_id: str
    created_at: int  # unix seconds
    asked: bytes  # the request


def take_over(database: Engine, locks: NameLocks, runner: str, working_on: Collection[str]) -> list[Left]:
    """Make `runner` the one that works on what nobody does, of all projects; what it is to begin with.

    Nobody works on what a process that is gone has left, nor on what `runner` itself has and is not `working_on`: its
    end could not be written down. What was taken up too often ends as failed.
    """
    with system_session(database) as session:
        runners = repository.list_runners(session)
    gone = [name for name in runners if name == runner or keeping.is_abandoned(locks, name)]
    if not gone:
        return []
    taken = []
    with system_session(database, write=True) as session:
        for row in repository.list_of_runners(session, gone):  # whose of several takers they are, is decided here
            if row.id in working_on:
                continue
            row.n_runners += 1
            if row.asked is None or row.n_runners > _MOST_RUNNERS:
                keeping.give_up(row)
                continue
            row.runner = runner
            taken.append(Left(row.project_id, row.key_id, row.id, row.created_at, row.asked))
    return taken
