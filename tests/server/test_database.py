import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from server.db.engine import open_database, writing
from server.db.failures import describe_failure
from server.db.migrate import DatabaseTooNew, migrate
from server.db.system_session import system_session
from server.db.tables import ProjectRow
from server.errors import InsufficientStorage


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    engine = _database(tmp_path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_several_may_migrate_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def try_to_migrate() -> None:
        try:
            migrate(tmp_path / "home" / "test.db")
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=try_to_migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    engine = _database(tmp_path)
    with writing(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(DatabaseTooNew, match="later version of Tunesmith"):
        migrate(tmp_path / "test.db")


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    engine = _database(tmp_path)
    with engine.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Each reads before it writes: with deferred transactions one of two would fail at once."""
    engine = _database(tmp_path)
    with system_session(engine, write=True) as session:
        session.add(ProjectRow(id="p", name="p", organization_id="org", slug="", created_at=0))

    def add_one(times: int) -> None:
        for _ in range(times):
            with system_session(engine, write=True) as session:
                row = session.get_one(ProjectRow, "p")
                row.created_at += 1

    threads = [threading.Thread(target=add_one, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with system_session(engine) as session:
        assert session.get_one(ProjectRow, "p").created_at == 40
    engine.dispose()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    engine = _database(tmp_path)
    with system_session(engine, write=True) as writer:
        writer.add(ProjectRow(id="p", name="p", organization_id="org", slug="", created_at=0))
        writer.flush()
        with system_session(engine) as reader:
            assert reader.get(ProjectRow, "p") is None
    engine.dispose()


def _database(directory: Path) -> Engine:
    migrate(directory / "test.db")
    return open_database(directory / "test.db")


def test_a_full_disk_is_told_from_a_fault_of_ours(tmp_path: Path) -> None:
    engine = _database(tmp_path)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(DBAPIError) as full:
            connection.execute(text("CREATE TABLE more AS SELECT zeroblob(100000)"))
        with pytest.raises(DBAPIError) as fault:
            connection.execute(text("SELECT nothing"))
    engine.dispose()

    described = describe_failure(full.value)
    assert isinstance(described, InsufficientStorage)
    assert describe_failure(fault.value) is None


def test_errors_of_the_database_hold_no_content(tmp_path: Path) -> None:
    """They are logged."""
    engine = _database(tmp_path)
    rows = [ProjectRow(id=n, name="a secret", organization_id="org", slug="", created_at=0) for n in ("1", "2")]
    with pytest.raises(DBAPIError) as failed, system_session(engine, write=True) as session:
        session.add_all(rows)
    engine.dispose()

    assert "a secret" not in str(failed.value)
