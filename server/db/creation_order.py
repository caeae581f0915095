"""Numbers new rows in the order of their creation (`seq`), whichever session adds them."""

from typing import Any

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from server.db.tables import (
    BatchRow,
    CheckpointPermissionRow,
    FileRow,
    FineTunedModelRow,
    JobRow,
    ModelImportRow,
    WebhookEndpointRow,
)

_NUMBERED = (
    BatchRow,
    CheckpointPermissionRow,
    FileRow,
    FineTunedModelRow,
    JobRow,
    ModelImportRow,
    WebhookEndpointRow,
)


def number_new_rows(session: Session, *_: Any) -> None:
    """Listen to `before_flush`. Writers exclude each other, so max + 1 is free.

    What was imported has a number of its own, below 0: it stands before everything that was made here.
    """
    for table in _NUMBERED:
        fresh = [row for row in session.new if isinstance(row, table) and row.seq == 0]
        if not fresh:
            continue
        column = inspect(table).local_table.c.seq
        last = Session.connection(session).execute(select(func.coalesce(func.max(column), 0))).scalar_one()
        for number, row in enumerate(fresh, start=max(last, 0) + 1):
            row.seq = number
