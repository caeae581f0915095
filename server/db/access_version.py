"""A number that changes with every change to who may use what: while it stays, what was looked up stays right.

The database itself counts, in the transaction of the change, whoever makes it: no process can forget to.
"""

import asyncio
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Table
from sqlmodel import SQLModel

from server.db.tables import (
    AccessVersionRow,
    ApiKeyRow,
    CheckpointPermissionRow,
    FineTunedModelRow,
    ModelAliasRow,
    ProjectRow,
)

# Every table that a caller or a model's name is looked up in.
WATCHED: tuple[type[SQLModel], ...] = (
    ProjectRow,
    ApiKeyRow,
    FineTunedModelRow,
    ModelAliasRow,
    CheckpointPermissionRow,
)
_BUSY_TIMEOUT_S = 1.0  # a reader waits for nobody, but where a log is being recovered


def count_changes(connection: Connection) -> None:
    """Have the database count. Not a migration: one that makes a watched table anew would lose its triggers."""
    table = _table(AccessVersionRow)
    table.create(connection, checkfirst=True)
    connection.exec_driver_sql(f"INSERT OR IGNORE INTO {table.name} (id, version) VALUES (1, 0)")
    for watched in WATCHED:
        name = _table(watched).name
        for change in ("INSERT", "UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {name}_{change.lower()}_counts AFTER {change} ON {name} "
                f"BEGIN UPDATE {table.name} SET version = version + 1; END"
            )


class AccessVersion:
    """Reads the number, in a few microseconds, on a connection of its own. Belongs to one event loop."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._cursor: sqlite3.Cursor | None = None
        self._known: int | None = None  # in this turn of the event loop

    def read(self) -> int:
        """Ask, once for all the requests of a turn: none of them came later than what it does not see."""
        if self._known is None:
            self._known = self._ask()
            asyncio.get_running_loop().call_soon(self._forget)
        return self._known

    def _forget(self) -> None:
        self._known = None

    def _ask(self) -> int:
        if self._cursor is None:
            connection = sqlite3.connect(self._database, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA query_only = ON")
            self._cursor = connection.cursor()
        (version,) = self._cursor.execute(_QUERY).fetchone()
        return int(version)


def _table(row: type[SQLModel]) -> Table:
    table: Table = row.__table__  # type: ignore[attr-defined]  # what SQLModel's metaclass makes
    return table


_QUERY = f"SELECT version FROM {AccessVersionRow.__tablename__}"
