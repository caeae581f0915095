"""A project's session shows, changes and makes nothing of another project: by table of what could be tried."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, exists, func, insert, select, text, update
from sqlalchemy.orm import aliased

from server.db.engine import open_database
from server.db.migrate import migrate
from server.db.project_session import ProjectSession, UnconfinedStatement, project_session
from server.db.system_session import system_session
from server.db.tables import ApiKeyRow, FileRow, ProjectOwned, ProjectRow
from server.ids import ProjectId
from server.vocabulary import FilePurpose

MINE = ProjectId("mine")
ALIAS = aliased(FileRow)
TABLE: Any = FileRow.__table__  # type: ignore[attr-defined]
KEYS: Any = ApiKeyRow.__table__  # type: ignore[attr-defined]
TABLE_ALIAS = TABLE.alias()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """Two projects with two files each."""
    migrate(tmp_path / "test.db")
    engine = open_database(tmp_path / "test.db")
    with system_session(engine, write=True) as session:
        for project in ("mine", "theirs"):
            session.add(ProjectRow(id=project, name=project, organization_id="org", slug="slug", created_at=0))
            session.add(ApiKeyRow(id=f"key-{project}", project_id=project, sha256=project, hint="", created_at=0))
            session.add_all(a_file(f"{project}-{n}", project) for n in (1, 2))
    yield engine
    engine.dispose()


def a_file(file_id: str, project_id: str | None) -> FileRow:
    return FileRow(  # type: ignore[call-arg]  # a table's class takes what is left out
        id=file_id,
        **({} if project_id is None else {"project_id": project_id}),
        filename="f",
        purpose=FilePurpose.FINE_TUNE,
        bytes=1,
        sha256="",
        created_at=0,
    )


CONFINED: dict[str, tuple[Any, list[Any]]] = {
    "select": (select(FileRow.id), [("mine-1",), ("mine-2",)]),
    "select an alias": (select(ALIAS.id), [("mine-1",), ("mine-2",)]),
    "join": (select(ALIAS.id).join(FileRow, ALIAS.id == FileRow.id), [("mine-1",), ("mine-2",)]),
    "count": (select(func.count()).select_from(FileRow), [(2,)]),
    "subquery": (select(func.count()).select_from(select(FileRow).subquery()), [(2,)]),
    "scalar subquery": (select(select(func.count(FileRow.id)).scalar_subquery()), [(2,)]),
    "exists": (select(FileRow.id).where(exists().where(ALIAS.id == "theirs-1")), []),
    "exists in a select": (select(FileRow.id).where(exists(select(ALIAS.id).where(ALIAS.id == "theirs-1"))), []),
    "in": (select(FileRow.id).where(FileRow.id.in_(["theirs-1"])), []),  # type: ignore[attr-defined]
    "or": (
        select(FileRow.id).where((FileRow.bytes == 1) | (FileRow.project_id == "theirs")),
        [("mine-1",), ("mine-2",)],
    ),
    "union": (select(FileRow.id).union(select(ALIAS.id)), [("mine-1",), ("mine-2",)]),
    "projects": (select(ProjectRow.id), [("mine",)]),
    "keys": (select(ApiKeyRow.id), [("key-mine",)]),
}


@pytest.mark.parametrize("name", CONFINED)
def test_a_query_sees_only_the_projects_own_rows(database: Engine, name: str) -> None:
    query, expected = CONFINED[name]
    with project_session(database, MINE) as session:
        assert sorted(tuple(row) for row in session.execute(query)) == expected


REFUSED: dict[str, Any] = {
    "text": text("SELECT id FROM file"),
    "text in a condition": select(FileRow.id).where(text("1=1 OR 1=1")),
    "from text": select(FileRow).from_statement(text("SELECT * FROM file")),
    "core select": select(TABLE),
    "core columns beside a row class": select(FileRow.id, KEYS.c.sha256),
    "core join": select(FileRow.id).join(KEYS, KEYS.c.id != FileRow.id),
    "core alias beside its row class": select(FileRow.id, TABLE_ALIAS.c.id),
    "core column beside an alias": select(ALIAS.id, TABLE.c.id),
    "core alias in exists": select(FileRow.id).where(exists().where(TABLE_ALIAS.c.id == "theirs-1")),
    "core count in a subquery": select(FileRow.id, select(func.count(TABLE_ALIAS.c.id)).scalar_subquery()),
    "core update": update(TABLE).values(filename="x"),
    "core delete": delete(TABLE),
    "insert": insert(FileRow).values(id="x"),
    "update of the project": update(FileRow).values(project_id="theirs"),
    "update of the project by column": update(FileRow).values({FileRow.project_id: "theirs"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_confined_is_refused(database: Engine, name: str) -> None:
    with project_session(database, MINE, write=True) as session, pytest.raises(UnconfinedStatement):
        session.execute(REFUSED[name])


METHODS: dict[str, Callable[[ProjectSession], object]] = {
    "connection": lambda session: session.connection(),
    "merge": lambda session: session.merge(a_file("theirs-1", "mine")),
    "bulk_save_objects": lambda session: session.bulk_save_objects([a_file("x", "theirs")]),
    "bulk_insert_mappings": lambda session: session.bulk_insert_mappings(FileRow, [{"id": "x"}]),  # type: ignore[arg-type]
    "bulk_update_mappings": lambda session: session.bulk_update_mappings(FileRow, [{"id": "theirs-1"}]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", METHODS)
def test_ways_around_the_confinement_are_closed(database: Engine, name: str) -> None:
    with project_session(database, MINE, write=True) as session, pytest.raises(UnconfinedStatement):
        METHODS[name](session)


def test_get_by_a_foreign_id_finds_nothing(database: Engine) -> None:
    with project_session(database, MINE) as session:
        assert session.get(FileRow, "theirs-1") is None
        assert session.get(FileRow, "mine-1") is not None


def test_bulk_updates_and_deletes_touch_only_own_rows(database: Engine) -> None:
    with project_session(database, MINE, write=True) as session:
        assert session.execute(update(FileRow).values(filename="changed")).rowcount == 2
        assert session.execute(delete(FileRow)).rowcount == 2
    with system_session(database) as session:
        assert sorted((row.id, row.filename) for row in session.scalars(select(FileRow))) == [
            ("theirs-1", "f"),
            ("theirs-2", "f"),
        ]


def test_a_new_row_gets_the_project_and_its_number(database: Engine) -> None:
    with project_session(database, MINE, write=True) as session:
        session.add(a_file("new", None))
    with system_session(database) as session:
        row = session.get_one(FileRow, "new")
        assert (row.project_id, row.seq) == ("mine", 5)


def test_a_foreign_row_cannot_be_added(database: Engine) -> None:
    with pytest.raises(UnconfinedStatement), project_session(database, MINE, write=True) as session:
        session.add(a_file("new", "theirs"))


def test_a_row_cannot_be_moved_to_another_project(database: Engine) -> None:
    with pytest.raises(UnconfinedStatement), project_session(database, MINE, write=True) as session:
        session.get_one(FileRow, "mine-1").project_id = "theirs"


def test_a_row_of_another_project_cannot_be_smuggled_in(database: Engine) -> None:
    with system_session(database) as session:
        foreign = session.get_one(FileRow, "theirs-1")
    foreign.filename = "changed"
    with pytest.raises(UnconfinedStatement), project_session(database, MINE, write=True) as session:
        session.add(foreign)


def test_projects_and_keys_are_not_made_by_a_projects_session(database: Engine) -> None:
    with pytest.raises(UnconfinedStatement), project_session(database, MINE, write=True) as session:
        session.add(ApiKeyRow(id="new", project_id="mine", sha256="new", hint="", created_at=0))


def test_every_table_that_names_a_project_is_confined() -> None:
    tables = ProjectOwned.metadata.tables
    named = {name for name, table in tables.items() if "project_id" in table.columns}
    confined = {str(row.__tablename__) for row in (*ProjectOwned.__subclasses__(), ApiKeyRow)}
    assert named == confined
    assert set(tables) - named == {
        "project",
        "access_version",
        "engine",
        "engine_demand",
        "device_turn",
        "usage_journal",
    }
