"""All SQL about files. A file that has expired is gone, whether its row is still there or not."""

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from server.db.tables import FileRow


def find_file(session: Session, file_id: str, *, now: float) -> FileRow | None:
    row = session.get(FileRow, file_id)
    return row if row is None or row.expires_at is None or row.expires_at > now else None


def list_files(
    session: Session, *, after_seq: int | None, limit: int, ascending: bool, purpose: str | None, now: float
) -> list[FileRow]:
    """The files beyond `after_seq` in their order of creation."""
    order = col(FileRow.seq)
    query = select(FileRow).where(_is_alive(now)).order_by(order.asc() if ascending else order.desc()).limit(limit)
    if purpose is not None:
        query = query.where(FileRow.purpose == purpose)
    if after_seq is not None:
        query = query.where(order > after_seq if ascending else order < after_seq)
    return list(session.exec(query))


def list_expired(session: Session, *, now: float, limit: int) -> list[FileRow]:
    return list(session.exec(select(FileRow).where(col(FileRow.expires_at) <= now).limit(limit)))


def list_file_ids(session: Session) -> set[str]:
    return set(session.exec(select(FileRow.id)))


def _is_alive(now: float) -> ColumnElement[bool]:
    return or_(col(FileRow.expires_at).is_(None), col(FileRow.expires_at) > now)
