"""The session confined to one project: it cannot see, change or make another project's rows."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn, cast

from sqlalchemy import (
    Alias,
    ClauseElement,
    Column,
    ColumnElement,
    Engine,
    Executable,
    Table,
    TextClause,
    Update,
    event,
    inspect,
)
from sqlalchemy.orm import FromStatement, ORMExecuteState, with_loader_criteria
from sqlalchemy.sql import visitors
from sqlmodel import Session

from server.db.creation_order import number_new_rows
from server.db.engine import WRITERS, writing
from server.db.tables import ApiKeyRow, ProjectOwned, ProjectRow
from server.ids import ProjectId


class UnconfinedStatement(Exception):
    """Something was asked of a project's session that it could not confine. A mistake in our code, never a client's."""


class ProjectSession(Session):
    """Every select, update and delete carries the project's condition; every new row its `project_id`."""

    def __init__(self, engine: Engine, project_id: ProjectId) -> None:
        super().__init__(engine, expire_on_commit=False)
        self.project_id = project_id

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnconfinedStatement("a project's session does not do this; use select, get, add and delete")

    connection = _refuse
    merge = _refuse
    bulk_save_objects = _refuse
    bulk_insert_mappings = _refuse
    bulk_update_mappings = _refuse


@contextmanager
def project_session(engine: Engine, project_id: ProjectId, *, write: bool = False) -> Iterator[ProjectSession]:
    """Open a transaction of one project; committed at the end, rolled back on an exception."""
    with (
        WRITERS if write else nullcontext(),
        ProjectSession(writing(engine) if write else engine, project_id) as session,
    ):
        yield session
        session.commit()


@event.listens_for(ProjectSession, "do_orm_execute")
def _confine(state: ORMExecuteState) -> None:
    statement = state.statement
    if state.is_insert or not state.is_orm_statement or isinstance(statement, FromStatement):
        raise UnconfinedStatement("only ORM selects, updates and deletes can be confined")
    _refuse_unconfinable(statement)
    if isinstance(statement, Update) and _sets_project(statement):
        raise UnconfinedStatement("rows never change their project")
    session = cast(ProjectSession, state.session)
    state.statement = statement.options(*_criteria(session.project_id))


def _refuse_unconfinable(statement: Executable) -> None:
    """Refuse SQL text, and tables and columns that are named past their row class: no criteria would reach them."""
    elements = list(visitors.iterate(cast(ClauseElement, statement)))
    entities = {
        element._annotations["parententity"].selectable
        for element in elements
        if "parententity" in getattr(element, "_annotations", ())
    }
    inside_aliases = {entity.element for entity in entities if isinstance(entity, Alias)}
    for element in elements:
        if isinstance(element, TextClause):
            raise UnconfinedStatement("textual SQL cannot be confined")
        source = element.table if isinstance(element, Column) else element
        if isinstance(source, Alias) and isinstance(source.element, Table) and source not in entities:
            raise UnconfinedStatement(f"{element} is an alias of a table, not of a row class")
        if (
            isinstance(source, Table)
            and source not in entities
            and (source is not element or source not in inside_aliases)
        ):
            raise UnconfinedStatement(f"{element} is named without its row class")


def _criteria(project_id: ProjectId) -> list[Any]:
    """A condition for every table there is; the documented form with a mixin fails under SQLModel."""
    conditions: dict[type, ColumnElement[bool]] = {
        table: table.project_id == project_id  # type: ignore[misc]  # a column, on the class
        for table in ProjectOwned.__subclasses__()
    }
    conditions[ProjectRow] = ProjectRow.id == project_id  # type: ignore[assignment]
    conditions[ApiKeyRow] = ApiKeyRow.project_id == project_id  # type: ignore[assignment]
    return [with_loader_criteria(table, condition, include_aliases=True) for table, condition in conditions.items()]


def _sets_project(statement: Update) -> bool:
    return any(getattr(column, "key", column) == "project_id" for column in statement._values or ())


@event.listens_for(ProjectSession, "before_flush")
def _stamp(session: ProjectSession, *_: Any) -> None:
    for row in session.new:
        if not isinstance(row, ProjectOwned):
            raise UnconfinedStatement(f"a project's session makes no {type(row).__name__}")
        if row.project_id is None:
            row.project_id = session.project_id
    for row in [*session.new, *session.dirty, *session.deleted]:
        if not isinstance(row, ProjectOwned):
            raise UnconfinedStatement(f"a project's session changes no {type(row).__name__}")
        before = inspect(row).attrs.project_id.history.deleted
        if row.project_id != session.project_id or any(old != session.project_id for old in before or ()):
            raise UnconfinedStatement(f"this {type(row).__name__} belongs to another project")


event.listen(ProjectSession, "before_flush", number_new_rows)
