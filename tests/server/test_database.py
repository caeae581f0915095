import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from server.db.engine import open_database, writing
from server.db.failures import describe_failure
from server.db.migrate import DatabaseTooNew, alembic_config, migrate
from server.db.system_session import system_session
from server.db.tables import AccessVersionRow, CheckpointPermissionRow, FineTunedModelRow, ProjectRow
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


OF_AN_OLDER_VERSION: dict[str, dict[str, object]] = {
    "project": {"id": "p", "name": "p", "organization_id": "org", "slug": "s", "created_at": 0},
    "job": {
        **{"id": "j", "project_id": "p", "seq": 1, "created_at": 0, "status": "succeeded", "requested_model": "b"},
        **{
            "base_model": "b",
            "training_file": "f",
            "seed": 1,
            "method": "supervised",
            "requested_hyperparameters": "{}",
        },
        **{"fence": 0, "attempt": 1, "crashes": 0, "events_offset": 0, "last_event_seq": 0, "last_step": 1},
        **{"started": True, "not_before": 0.0},
    },
    "fine_tuned_model": {
        **{"name": "ft:b:s::AAAAAAAA", "project_id": "p", "seq": 3, "job_id": "j", "base_model": "b"},
        **{"directory": "AAAAAAAA", "rank": 8, "created_at": 0, "sha256": "h"},
    },
    "checkpoint_permission": {
        **{"id": "cp_1", "project_id": "p", "seq": 5, "model_name": "ft:b:s::AAAAAAAA", "allowed_project_id": "p"},
        **{"created_at": 0},
    },
}


def test_models_and_their_permissions_outlive_the_table_that_is_made_anew(tmp_path: Path) -> None:
    """0013 lets a model be without a job, for which SQLite needs another table; every change counts as before."""
    path = tmp_path / "test.db"
    engine = open_database(path)
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0008")
        for table, columns in OF_AN_OLDER_VERSION.items():
            names, places = ", ".join(columns), ", ".join(f":{name}" for name in columns)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), columns)
    engine.dispose()

    migrate(path)

    engine = open_database(path)
    with system_session(engine, write=True) as session:
        model = session.get_one(FineTunedModelRow, "ft:b:s::AAAAAAAA")
        permission = session.get_one(CheckpointPermissionRow, "cp_1")
        assert (model.seq, model.job_id, model.sha256, permission.seq) == (3, "j", "h", 5)
        before = session.get_one(AccessVersionRow, 1).version
        model.job_id = None
        session.add(model)
        session.flush()
        session.expire_all()
        assert session.get_one(AccessVersionRow, 1).version == before + 1
    engine.dispose()


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


def test_usage_of_a_version_without_batches_is_kept(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "test.db")
    with writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), "0014")
        connection.execute(
            text("INSERT INTO project (id, name, organization_id, slug, created_at) VALUES ('p','p','o','s',0)")
        )
        connection.execute(text("INSERT INTO usage VALUES ('p', 'k', 'm', 'b', 60, 1, 2, 3, 4, 5)"))
    engine.dispose()
    engine = _database(tmp_path)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT minute, is_batch, requests, completion_tokens FROM usage")).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [(60, 0, 1, 5)]
