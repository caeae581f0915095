"""Where SQL may be written: what import contracts cannot say, read from the syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).resolve().parents[2] / "server"
STATEMENTS = {"select", "update", "delete", "insert"}
STATEMENT_FILES = {
    "repository.py",
    "leases.py",
    "api_keys.py",  # looks a key up before it knows the project
    "shared_models.py",  # looks across projects, for what one of them may use
}
RAW = {"connection", "execute", "exec_driver_sql", "get_bind"}


def test_statements_are_written_only_in_repositories() -> None:
    found = [
        f"{path.relative_to(SERVER.parent)}:{line}: {name}"
        for path in _modules()
        if path.name not in STATEMENT_FILES
        for line, name in imported_statements(path.read_text("utf-8"))
    ]

    assert found == []


def test_nothing_reaches_around_the_confined_session() -> None:
    found = [
        f"{path.relative_to(SERVER.parent)}:{line}: {name}"
        for path in _modules()
        for line, name in raw_access(path.read_text("utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from sqlmodel import Session, select", [(1, "select")]),
        ("from sqlalchemy import update as change", [(1, "update")]),
        ("from sqlalchemy.orm import Session", []),
        ("from server.files.service import delete", []),
    ],
)
def test_an_imported_statement_is_noticed(source: str, expected: list[tuple[int, str]]) -> None:
    assert list(imported_statements(source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("session.connection()", [(1, "connection")]),
        ("session.bulk_save_objects(rows)", [(1, "bulk_save_objects")]),
        ("from sqlalchemy import text", [(1, "text")]),
        ("Session.execute(session, query)", [(1, "execute")]),
        ("session.exec(query)", []),
    ],
)
def test_raw_access_is_noticed(source: str, expected: list[tuple[int, str]]) -> None:
    assert list(raw_access(source)) == expected


def imported_statements(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _is_database_library(node.module):
            yield from ((node.lineno, name.name) for name in node.names if name.name in STATEMENTS)


def raw_access(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in RAW or node.func.attr.startswith("bulk_"):
                yield node.lineno, node.func.attr
        elif isinstance(node, ast.ImportFrom) and _is_database_library(node.module):
            yield from ((node.lineno, name.name) for name in node.names if name.name == "text")


def _is_database_library(module: str | None) -> bool:
    return (module or "").split(".")[0] in {"sqlmodel", "sqlalchemy"}


def _modules() -> list[Path]:
    modules = [path for path in SERVER.rglob("*.py") if "db" not in path.relative_to(SERVER).parts]
    assert len(modules) > 20, "the walk has lost the server"
    return modules
