"""All SQL of usage: over all projects, as only administrators read it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, delete, func
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from server.db.system_session import system_session
from server.db.tables import ProjectRow, UsageJournalRow, UsageRow
from server.metering.account import Account, Amount
from server.metering.sums import UsageFilter, UsageSum

_KEYS = ("project_id", "key_id", "model", "base_model", "minute", "is_batch")


def read_position(session: Session, journal: str) -> int:
    row = session.get(UsageJournalRow, journal)
    return 0 if row is None else row.position


def apply(session: Session, journal: str, position: int, sums: Mapping[Account, Amount]) -> int:
    """Add sums, with how far their journal is read by now. Gives how many were of projects that are not there."""
    known = set(session.exec(select(ProjectRow.id)))
    kept = {account: amount for account, amount in sums.items() if account.project_id in known}
    for account, amount in kept.items():
        values = {**account._asdict(), **amount._asdict()}
        statement = insert(UsageRow).values(values)
        added = {name: getattr(UsageRow, name) + getattr(statement.excluded, name) for name in amount._fields}
        session.exec(statement.on_conflict_do_update(index_elements=_KEYS, set_=added))
    session.merge(UsageJournalRow(name=journal, position=position))
    return len(sums) - len(kept)


def forget_journals(session: Session, existing: Iterable[str]) -> None:
    """Delete the positions in journals that are no more."""
    session.exec(delete(UsageJournalRow).where(col(UsageJournalRow.name).not_in(list(existing))))


def sum_usage(database: Engine, asked: UsageFilter, *, width_s: int, group_by: Sequence[str]) -> list[UsageSum]:
    """Add up by buckets of `width_s` and by columns, oldest first; buckets without any are not among them."""
    bucket: Any = col(UsageRow.minute) - col(UsageRow.minute) % width_s
    groups = [getattr(UsageRow, name) for name in group_by]
    sums = [func.sum(getattr(UsageRow, name)) for name in Amount._fields]
    statement: Any = (
        select(bucket, *groups, *sums)
        .where(col(UsageRow.minute) >= asked.since, col(UsageRow.minute) < asked.until)
        .group_by(bucket, *groups)
        .order_by(bucket, *groups)
    )
    wanted = (
        (UsageRow.project_id, asked.project_ids),
        (UsageRow.key_id, asked.key_ids),
        (UsageRow.model, asked.models),
    )
    for column, values in wanted:
        if values is not None:
            statement = statement.where(col(column).in_(values))
    if asked.is_batch is not None:
        statement = statement.where(col(UsageRow.is_batch) == asked.is_batch)
    with system_session(database) as session:
        rows = session.exec(statement).all()
    n_groups = len(groups)
    return [
        UsageSum(row[0], dict(zip(group_by, row[1 : 1 + n_groups], strict=True)), Amount(*row[1 + n_groups :]))
        for row in rows
    ]
