"""The connection to SQLite: its pragmas, and how a transaction begins."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 30_000
WRITERS = threading.RLock()  # the writers of this process queue here: waiting inside SQLite is a lottery of sleeps

_BEGIN = "tunesmith_begin"


def open_database(path: Path, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """Connect to the database file; `migrate` it first.

    Transactions read (`BEGIN`) unless opened on `writing(engine)`.
    """
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=20,
        max_overflow=40,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
        hide_parameters=True,  # errors are logged, clients' content is not
    )
    event.listen(engine, "connect", partial(_prepare_connection, busy_timeout_ms))
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """Give the same database, with transactions that take the write lock when they begin.

    A transaction that reads first and writes later would fail at once, without waiting, when another has written in
    between (SQLITE_BUSY_SNAPSHOT).
    """
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def check_writable(engine: Engine) -> None:
    """Take the write lock and let it go. Raises: sqlalchemy.exc.DBAPIError."""
    with writing(engine).connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM project LIMIT 1")


def _prepare_connection(busy_timeout_ms: int, connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is in _begin
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")  # until the commit: rows may be added in any order
