"""All SQL of responses that are kept, and of their items."""

from collections.abc import Collection, Sequence

from sqlalchemy import Engine, func
from sqlalchemy.orm import aliased, defer
from sqlmodel import Session, col, delete, select

from server.db.project_session import ProjectSession
from server.db.system_session import system_session
from server.db.tables import ResponseItemRow, ResponseRow


def find_response(session: ProjectSession, response_id: str) -> ResponseRow | None:
    return session.get(ResponseRow, response_id)


def list_links(session: ProjectSession, response_id: str) -> Sequence[ResponseRow]:
    """Give a response and those before it, as far as they are there, the oldest first, without what they say."""
    back = select(ResponseRow.id, ResponseRow.previous_id).where(ResponseRow.id == response_id)
    links = back.cte("links", recursive=True)
    before = aliased(ResponseRow)
    links = links.union(select(before.id, before.previous_id).where(before.id == links.c.previous_id))
    query = select(ResponseRow).join(links, links.c.id == col(ResponseRow.id))
    query = query.options(defer(ResponseRow.body, raiseload=True))  # type: ignore[arg-type]  # a column, on the class
    return session.exec(query.order_by(col(ResponseRow.depth))).all()


def list_items(session: ProjectSession, response_ids: Collection[str]) -> Sequence[ResponseItemRow]:
    """Of some responses, those of each in their order."""
    query = select(ResponseItemRow).where(col(ResponseItemRow.response_id).in_(response_ids))
    return session.exec(query.order_by(col(ResponseItemRow.response_id), col(ResponseItemRow.position))).all()


def find_items(session: ProjectSession, item_ids: Collection[str], *, since: float) -> Sequence[ResponseItemRow]:
    """By their ids, of responses that are not older; what a model gave comes last."""
    query = select(ResponseItemRow).join(ResponseRow, col(ResponseRow.id) == col(ResponseItemRow.response_id))
    query = query.where(col(ResponseItemRow.id).in_(item_ids), col(ResponseRow.created_at) >= since)
    return session.exec(query.order_by(col(ResponseItemRow.is_output))).all()


def delete_response(session: Session, row: ResponseRow) -> None:
    """With its items."""
    session.exec(delete(ResponseItemRow).where(col(ResponseItemRow.response_id) == row.id))
    session.delete(row)


def count_unfinished(session: ProjectSession) -> int:
    return session.exec(select(func.count(col(ResponseRow.id))).where(col(ResponseRow.runner).is_not(None))).one()


def list_created_before(session: Session, *, before: float, limit: int) -> Sequence[ResponseRow]:
    """Of all projects, for the sweeper."""
    return session.exec(select(ResponseRow).where(col(ResponseRow.created_at) < before).limit(limit)).all()


def list_totals(session: Session) -> Sequence[tuple[str, int]]:
    """Of all projects that have responses: their ids, and the bytes of all of them."""
    query = select(ResponseRow.project_id, func.sum(col(ResponseRow.size_bytes)))
    return session.exec(query.group_by(col(ResponseRow.project_id))).all()


def list_oldest(session: Session, project_id: str, *, limit: int) -> Sequence[ResponseRow]:
    """Those of a project that nobody works on."""
    query = select(ResponseRow).where(ResponseRow.project_id == project_id, col(ResponseRow.runner).is_(None))
    return session.exec(query.order_by(col(ResponseRow.created_at)).limit(limit)).all()


def list_runners(session: Session) -> Sequence[str]:
    """Of all projects: the processes that work on responses, or did when they were killed."""
    runners = select(ResponseRow.runner).where(col(ResponseRow.runner).is_not(None)).distinct()
    return [runner for runner in session.exec(runners) if runner is not None]


def list_of_runners(session: Session, runners: Collection[str]) -> Sequence[ResponseRow]:
    """Of all projects, the oldest first."""
    query = select(ResponseRow).where(col(ResponseRow.runner).in_(runners))
    return session.exec(query.order_by(col(ResponseRow.created_at))).all()


def list_worked_on(database: Engine, runner: str) -> set[str]:
    """Of all projects: the ids of what a process is to work on."""
    with system_session(database) as session:
        return set(session.exec(select(ResponseRow.id).where(ResponseRow.runner == runner)))
