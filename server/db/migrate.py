"""Brings a database file to this version's tables; forward only."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from server.db.access_version import count_changes
from server.db.engine import open_database, writing


class DatabaseTooNew(Exception):
    """The database was written by a later version of Tunesmith."""


def migrate(path: Path) -> None:
    """Create or update the tables. Safe when several processes start at once, and quick when nothing is to do.

    Raises:
        DatabaseTooNew: run the later version, or restore a copy of the database from before it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(path.name + ".migrate.lock")):
        engine = open_database(path)
        try:
            with writing(engine).connect() as connection:
                command.upgrade(alembic_config(connection), "head")
                count_changes(connection)
                connection.commit()
        except CommandError as error:
            raise DatabaseTooNew(f"the database {path} was written by a later version of Tunesmith: {error}") from error
        finally:
            engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Build Alembic's configuration without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
