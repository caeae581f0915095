"""The rows that parent, worker and API processes place by: engines, what is asked of them, and whose turn it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, delete, select

from server.db.system_session import SystemSession, system_session
from server.db.tables import DeviceTurnRow, EngineDemandRow, EngineRow
from server.placement.facts import EngineFacts, EngineState, Holder, Turn, Why
from server.placement.sizing import EngineSize
from server.placement.standing import Standing

_SILENT_S = 10.0  # a process that has not reported for so long asks for nothing


@dataclass(frozen=True)
class Demand:
    """What one process is asked of one engine. Times are unix seconds."""

    base_model: str
    asked_at: float
    waiting: int
    waiting_since: float
    active: int


@contextmanager
def placing(database: Engine, *, write: bool = False) -> Iterator[SystemSession]:
    """Open a transaction; in a writing one nobody else decides anything until it ends."""
    with system_session(database, write=write) as session:
        yield session


def start_over(session: Session, base_models: Sequence[str], now: float) -> None:
    """The service starts: no engine runs, nothing is asked, and what took how long is remembered."""
    for demand in session.exec(select(EngineDemandRow)).all():
        session.delete(demand)
    for row in session.exec(select(EngineRow)).all():
        if row.base_model not in base_models:
            session.delete(row)
    session.flush()
    for name in base_models:
        _keep(session, name, Standing(EngineState.STOPPED, now, Why.NEW, start_s=_start_s(session, name)))
    write_turn(session, Turn(since=now))


def delete_engine(session: Session, base_model: str) -> None:
    """Of a model that is no more. Idempotent."""
    for table in (EngineRow, EngineDemandRow):
        session.exec(delete(table).where(col(table.base_model) == base_model))


def write_engine(session: Session, base_model: str, standing: Standing) -> None:
    _keep(session, base_model, standing)


def read_engines(session: Session) -> dict[str, Standing]:
    rows = session.exec(select(EngineRow)).all()
    return {
        row.base_model: Standing(
            EngineState(row.state),
            row.state_since,
            None if row.why is None else Why(row.why),
            detail=row.detail,
            deaths=row.deaths,
            start_s=row.start_s,
        )
        for row in rows
    }


def read_engine_facts(session: Session, sizes: Sequence[EngineSize], now: float) -> list[EngineFacts]:
    """In that order; an engine without a row is one that has not been started yet."""
    standings = read_engines(session)
    demands = session.exec(select(EngineDemandRow)).all()
    return [_facts(size, standings.get(size.base_model), demands, now) for size in sizes]


def report_demand(session: Session, reporter: str, demands: Sequence[Demand], now: float) -> None:
    for demand in demands:
        session.merge(EngineDemandRow(**vars(demand), reporter=reporter, reported_at=now))


def read_turn(session: Session) -> Turn:
    row = session.exec(select(DeviceTurnRow)).one_or_none()
    return Turn() if row is None else Turn(Holder(row.holder), row.since, row.used)


def write_turn(session: Session, turn: Turn) -> None:
    session.merge(DeviceTurnRow(id=1, holder=turn.holder.value, since=turn.since, used=turn.used))


def _facts(size: EngineSize, standing: Standing | None, demands: Sequence[EngineDemandRow], now: float) -> EngineFacts:
    standing = standing or Standing(EngineState.STOPPED, 0.0, Why.ON_DEMAND if size.on_demand else Why.NEW)
    asked = [row for row in demands if row.base_model == size.base_model]
    live = [row for row in asked if now - row.reported_at < _SILENT_S]
    return EngineFacts(
        size.base_model,
        size.needed_bytes,
        size.on_demand,
        size.device,
        state=standing.state,
        state_since=standing.since,
        why=standing.why,
        asked_at=max((row.asked_at for row in asked), default=0.0),
        waiting=sum(row.waiting for row in live),
        waiting_since=min((row.waiting_since for row in live if row.waiting), default=0.0),
        active=sum(row.active for row in live),
    )


def _keep(session: Session, base_model: str, standing: Standing) -> None:
    session.merge(
        EngineRow(
            base_model=base_model,
            state=standing.state.value,
            state_since=standing.since,
            why=None if standing.why is None else standing.why.value,
            detail=standing.detail,
            deaths=standing.deaths,
            start_s=standing.start_s,
        )
    )


def _start_s(session: Session, base_model: str) -> float | None:
    row = session.exec(select(EngineRow).where(EngineRow.base_model == base_model)).one_or_none()
    return None if row is None else row.start_s
