"""All SQL of stored completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import SQLColumnExpression, literal, tuple_
from sqlalchemy.orm import aliased, defer
from sqlmodel import Session, and_, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from server.db.project_session import ProjectSession
from server.db.tables import (
    ProjectRow,
    StoredCompletionGoneRow,
    StoredCompletionLabelRow,
    StoredCompletionRow,
    StoredCompletionTotalRow,
)

_COUNTED = 2000  # of a label's completions: enough to know a rare one from a common one


class Position(NamedTuple):
    """Where a completion stands among its project's."""

    created_at: int
    seq: int


class Sized(NamedTuple):
    """A completion that a list may hold."""

    seq: int
    created_at: int
    size_bytes: int


@dataclass(frozen=True)
class Wanted:
    """Which completions. Each label has to be there with its value."""

    labels: Mapping[str, str] = field(default_factory=dict)
    created_from: int | None = None  # unix seconds
    created_before: int | None = None
    ids: Sequence[str] | None = None


def get_project(session: ProjectSession) -> tuple[ProjectRow, StoredCompletionTotalRow]:
    """The session's project, and what its completions come to: one question, as each that is stored asks it."""
    query = select(ProjectRow, StoredCompletionTotalRow).join(
        StoredCompletionTotalRow, col(StoredCompletionTotalRow.project_id) == col(ProjectRow.id), isouter=True
    )
    project, total = session.exec(query).one()
    if total is None:
        total = StoredCompletionTotalRow(project_id=session.project_id)
        session.add(total)
    return project, total


def find_completion(session: ProjectSession, completion_id: str) -> StoredCompletionRow | None:
    """Without its messages, which are read when they are asked for."""
    return session.exec(_by_id(completion_id).options(_without_messages())).first()


def find_with_messages(session: ProjectSession, completion_id: str) -> StoredCompletionRow | None:
    return session.exec(_by_id(completion_id)).first()


def find_position(session: ProjectSession, completion_id: str) -> Position | None:
    """Where it stands, or stood until it was deleted a while ago."""
    row = find_completion(session, completion_id) or session.get(
        StoredCompletionGoneRow, (session.project_id, completion_id)
    )
    return None if row is None else Position(row.created_at, row.seq or 0)


def list_sized(
    session: ProjectSession, wanted: Wanted, *, beyond: Position | None, limit: int, ascending: bool
) -> list[Sized]:
    """The completions beyond a position, in the order of their creation or against it."""
    labels = _rarest_first(session, wanted.labels)
    label = labels[0] if labels else None
    found = StoredCompletionRow if label is None else StoredCompletionLabelRow
    created_at: SQLColumnExpression[int] = col(found.created_at)
    seq = col(StoredCompletionRow.seq if label is None else StoredCompletionLabelRow.completion_seq)
    query = select(seq, created_at, StoredCompletionRow.size_bytes).limit(limit)
    if label is not None:
        query = query.select_from(StoredCompletionLabelRow).join(
            StoredCompletionRow, col(StoredCompletionRow.seq) == seq
        )
        query = query.where(StoredCompletionLabelRow.name == label[0], StoredCompletionLabelRow.value == label[1])
    for name, value in labels[1:]:
        other = aliased(StoredCompletionLabelRow)
        query = query.join(
            other, and_(col(other.completion_seq) == seq, col(other.name) == name, col(other.value) == value)
        )
    if wanted.ids is not None:
        query = query.where(col(StoredCompletionRow.id).in_(wanted.ids))
        created_at = created_at + 0  # they are looked up one by one and sorted; the order's index would be walked
    if beyond is not None:
        place, at = tuple_(created_at, seq), tuple_(literal(beyond.created_at), literal(beyond.seq))
        query = query.where(place > at if ascending else place < at)
    if wanted.created_from is not None:
        query = query.where(created_at >= wanted.created_from)
    if wanted.created_before is not None:
        query = query.where(created_at < wanted.created_before)
    order = (created_at, seq) if ascending else (created_at.desc(), seq.desc())
    return [Sized(seq or 0, at, n_bytes) for seq, at, n_bytes in session.exec(query.order_by(*order))]


def get_completions(
    session: ProjectSession, seqs: Sequence[int], *, with_messages: bool = False
) -> list[StoredCompletionRow]:
    """Those of the numbers that are still there, in the order of the numbers as given."""
    query = select(StoredCompletionRow).where(col(StoredCompletionRow.seq).in_(seqs))
    if not with_messages:
        query = query.options(_without_messages())
    rows = {row.seq: row for row in session.exec(query)}
    return [rows[seq] for seq in seqs if seq in rows]


def add_completion(session: ProjectSession, row: StoredCompletionRow, labels: Mapping[str, str]) -> None:
    session.add(row)
    session.flush()
    add_labels(session, row, labels)
    add_to_total(session, session.project_id, row.size_bytes)


def add_labels(session: ProjectSession, row: StoredCompletionRow, labels: Mapping[str, str]) -> None:
    for name, value in labels.items():
        session.add(
            StoredCompletionLabelRow(
                project_id=session.project_id,
                completion_seq=row.seq or 0,
                name=name,
                value=value,
                created_at=row.created_at,
            )
        )


def delete_labels(session: ProjectSession, row: StoredCompletionRow, *, but: str) -> None:
    """All but the one of that name."""
    session.exec(
        delete(StoredCompletionLabelRow).where(
            col(StoredCompletionLabelRow.completion_seq) == row.seq, col(StoredCompletionLabelRow.name) != but
        )
    )


def total_bytes(session: Session, project_id: str) -> int:
    total = session.get(StoredCompletionTotalRow, project_id)
    return 0 if total is None else total.size_bytes


def add_to_total(session: Session, project_id: str, n_bytes: int) -> None:
    total = session.get(StoredCompletionTotalRow, project_id) or StoredCompletionTotalRow(project_id=project_id)
    total.size_bytes += n_bytes
    session.add(total)


def list_oldest(session: Session, project_id: str, *, limit: int, before: float | None = None) -> list[Sized]:
    """In whichever session. `before`: unix seconds."""
    query = select(StoredCompletionRow.seq, StoredCompletionRow.created_at, StoredCompletionRow.size_bytes).where(
        StoredCompletionRow.project_id == project_id
    )
    if before is not None:
        query = query.where(col(StoredCompletionRow.created_at) < before)
    query = query.order_by(col(StoredCompletionRow.created_at), col(StoredCompletionRow.seq)).limit(limit)
    return [Sized(seq or 0, created_at, n_bytes) for seq, created_at, n_bytes in session.exec(query)]


def delete_completions(session: Session, project_id: str, gone: Sequence[Sized], *, now: float) -> None:
    """With their labels; where each stood is remembered. In whichever session."""
    seqs = [one.seq for one in gone]
    ids = session.exec(
        select(StoredCompletionRow.id, StoredCompletionRow.seq, StoredCompletionRow.created_at).where(
            col(StoredCompletionRow.seq).in_(seqs)
        )
    )
    for completion_id, seq, created_at in ids.all():
        session.add(
            StoredCompletionGoneRow(
                project_id=project_id, id=completion_id, seq=seq or 0, created_at=created_at, deleted_at=int(now)
            )
        )
    session.exec(delete(StoredCompletionRow).where(col(StoredCompletionRow.seq).in_(seqs)))
    add_to_total(session, project_id, -sum(one.size_bytes for one in gone))


def list_totals(session: Session) -> Sequence[tuple[StoredCompletionTotalRow, ProjectRow]]:
    """Of all projects, for the sweeper."""
    query = select(StoredCompletionTotalRow, ProjectRow).join(
        ProjectRow, col(ProjectRow.id) == col(StoredCompletionTotalRow.project_id)
    )
    return session.exec(query).all()


def forget_gone(session: Session, *, before: float, limit: int) -> int:
    """Forget where completions stood that were deleted before then. Of all projects, for the sweeper."""
    query = select(StoredCompletionGoneRow).where(col(StoredCompletionGoneRow.deleted_at) < before).limit(limit)
    gone = session.exec(query).all()
    for row in gone:
        session.delete(row)
    return len(gone)


def _rarest_first(session: ProjectSession, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """The label that the fewest completions have leads the search, as far as a short count can tell."""
    if len(labels) < 2:
        return list(labels.items())
    return sorted(labels.items(), key=lambda label: _count(session, *label))


def _count(session: ProjectSession, name: str, value: str) -> int:
    some = (
        select(StoredCompletionLabelRow.completion_seq)
        .where(StoredCompletionLabelRow.name == name, StoredCompletionLabelRow.value == value)
        .limit(_COUNTED)
    )
    return len(session.exec(some).all())


def _by_id(completion_id: str) -> SelectOfScalar[StoredCompletionRow]:
    return select(StoredCompletionRow).where(StoredCompletionRow.id == completion_id)


def _without_messages() -> Any:
    return defer(StoredCompletionRow.messages)  # type: ignore[arg-type]  # a column, on the class
