"""The database of a home that a service has made."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from server.commands.failures import CommandFailed
from server.db.engine import open_database
from server.db.migrate import migrate
from server.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """Open it, brought to this version. The service may be running or not.

    Raises:
        CommandFailed: there is none; a mistyped home is not made.
        DatabaseTooNew: a later version has written it.
    """
    if not settings.database.exists():
        raise CommandFailed(
            f"there is no Tunesmith database in {settings.home}; "
            "start `tunesmith serve` once, or name the right home with --home or TUNESMITH_HOME"
        )
    migrate(settings.database)
    database = open_database(settings.database)
    try:
        yield database
    finally:
        database.dispose()
