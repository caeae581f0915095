"""The session that sees every project; who may import it is a short list (pyproject.toml)."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import Engine, event
from sqlmodel import Session

from server.db.creation_order import number_new_rows
from server.db.engine import WRITERS, writing


class SystemSession(Session):
    """An unconfined session."""


event.listen(SystemSession, "before_flush", number_new_rows)


@contextmanager
def system_session(engine: Engine, *, write: bool = False) -> Iterator[SystemSession]:
    """Open a transaction over all projects; committed at the end, rolled back on an exception.

    Rows stay readable after it. A writing one excludes other writers from its first statement on: keep it short.
    """
    with (
        WRITERS if write else nullcontext(),
        SystemSession(writing(engine) if write else engine, expire_on_commit=False) as session,
    ):
        yield session
        session.commit()
