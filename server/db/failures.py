"""What the database could not do, as an error for clients."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from server.errors import ApiError, EngineUnavailable, InsufficientStorage


class DatabaseBusy(EngineUnavailable):
    """Another process held the write lock for longer than anybody waits."""


def describe_failure(error: DBAPIError) -> ApiError | None:
    """None: a fault of ours."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # without SQLite's extension of it
    if code == sqlite3.SQLITE_FULL:
        return InsufficientStorage("The server has no space left; nothing of this request was kept.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseBusy("The server is busy. Try again.")
    return None


@contextmanager
def describing_failures() -> Iterator[None]:
    """Raises: ApiError, in the place of the database's error, where clients can do something about it."""
    try:
        yield
    except DBAPIError as error:
        if (described := describe_failure(error)) is None:
            raise
        raise described from error
