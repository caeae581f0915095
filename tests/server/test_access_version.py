"""What is remembered of callers and models is right at the very next request, whoever changed it."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from server.auth.api_keys import create_key, find_caller, revoke_key
from server.db.access_version import WATCHED, AccessVersion
from server.db.engine import open_database
from server.db.migrate import migrate
from server.db.remembered import Remembered

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(tmp_path / "db")
    return tmp_path / "db"


@pytest.fixture
def database(path: Path) -> Engine:
    return open_database(path)


def counting(look_up: Callable[[], Any], asked: list[int]) -> Callable[[], Any]:
    def look() -> Any:
        asked.append(1)
        return look_up()

    return look


class Callers(Remembered[bytes, Any]):
    """Asks for the version as it is now."""

    def __init__(self, path: Path) -> None:
        super().__init__(most=10)
        self._version = AccessVersion(path).read

    async def now(self, key: bytes, look_up: Callable[[], Any]) -> Any:
        return await self.find(key, self._version(), look_up)


async def turn() -> None:
    """Let one turn of the loop pass, as between two requests."""
    await asyncio.sleep(0)


async def test_a_caller_is_looked_up_once_while_nothing_changes(path: Path, database: Engine) -> None:
    key = create_key(database).plaintext.encode()
    callers = Callers(path)
    asked: list[int] = []
    found = [await callers.now(key, counting(lambda: find_caller(database, key), asked)) for _ in range(3)]
    assert found[0] is found[1] is found[2] is not None
    assert len(asked) == 1


async def test_a_key_revoked_over_another_connection_is_unknown_at_once(path: Path, database: Engine) -> None:
    key = create_key(database)
    callers = Callers(path)
    assert await callers.now(b"k", lambda: find_caller(database, key.plaintext.encode())) is not None
    revoke_key(open_database(path), key.id)
    await turn()
    assert await callers.now(b"k", lambda: find_caller(database, key.plaintext.encode())) is None


async def test_a_key_revoked_by_another_process_is_unknown_at_once(path: Path, database: Engine) -> None:
    key = create_key(database)
    callers = Callers(path)
    assert await callers.now(b"k", lambda: find_caller(database, key.plaintext.encode())) is not None
    program = (
        "import sys; from pathlib import Path; from server.db.engine import open_database; "
        "from server.auth.api_keys import revoke_key; revoke_key(open_database(Path(sys.argv[1])), sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", program, str(path), key.id], check=True, cwd=ROOT)
    await turn()
    assert await callers.now(b"k", lambda: find_caller(database, key.plaintext.encode())) is None


async def test_what_changes_while_it_is_looked_up_is_not_remembered(path: Path, database: Engine) -> None:
    key = create_key(database)
    callers = Callers(path)

    def look_up_and_lose() -> Any:
        found = find_caller(database, key.plaintext.encode())
        revoke_key(database, key.id)
        return found

    assert await callers.now(b"k", look_up_and_lose) is not None  # the look came before the change
    await turn()
    assert await callers.now(b"k", lambda: find_caller(database, key.plaintext.encode())) is None


@pytest.mark.parametrize("table", WATCHED, ids=lambda table: str(table.__tablename__))
async def test_every_table_that_callers_and_models_are_found_in_is_counted(path: Path, table: Any) -> None:
    version = AccessVersion(path)
    seen = [version.read()]
    with sqlite3.connect(path) as other:
        columns = [(name, kind) for _, name, kind, *_ in other.execute(f"PRAGMA table_info({table.__tablename__})")]
        values = ", ".join("1" if kind in ("INTEGER", "BOOLEAN", "BIGINT") else "'x'" for _, kind in columns)
        for statement in (
            f"INSERT INTO {table.__tablename__} VALUES ({values})",
            f"UPDATE {table.__tablename__} SET {columns[0][0]} = {columns[0][0]}",
            f"DELETE FROM {table.__tablename__}",
        ):
            other.execute(statement)
            other.commit()
            await turn()
            seen.append(version.read())
    assert len(set(seen)) == 4


async def test_a_change_of_something_else_forgets_nothing(path: Path, database: Engine) -> None:
    version = AccessVersion(path)
    before = version.read()
    with sqlite3.connect(path) as other:
        other.execute(
            "INSERT INTO file VALUES (" + ", ".join("1" for _ in other.execute("PRAGMA table_info(file)")) + ")"
        )
    await turn()
    assert version.read() == before


async def test_what_was_not_found_is_asked_again_and_displaces_nothing() -> None:
    known: Remembered[int, str] = Remembered(most=2)
    asked: list[int] = []
    assert await known.find(0, 1, lambda: "good") == "good"
    for wrong in range(1, 100):
        assert await known.find(wrong, 1, counting(lambda: None, asked)) is None
    assert await known.find(1, 1, counting(lambda: None, asked)) is None
    assert len(asked) == 100
    assert await known.find(0, 1, counting(lambda: "again", asked)) == "good"


async def test_the_oldest_makes_room() -> None:
    known: Remembered[int, str] = Remembered(most=2)
    for key in (1, 2, 3):
        await known.find(key, 1, lambda: "first")
    assert [await known.find(key, 1, lambda: "second") for key in (2, 3, 1)] == ["first", "first", "second"]


async def test_a_request_that_came_before_a_change_neither_gives_nor_keeps_what_came_after_it() -> None:
    known: Remembered[int, str] = Remembered(most=2)
    assert await known.find(1, 8, lambda: "new") == "new"
    assert await known.find(2, 7, lambda: "seen by an old request") == "seen by an old request"
    assert await known.find(2, 8, lambda: "new") == "new"
    assert await known.find(1, 8, lambda: "again") == "new"
