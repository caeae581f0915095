"""All SQL about uploads and their parts."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select

from server.db.tables import UploadPartRow, UploadRow
from server.vocabulary import UploadStatus


def find_upload(session: Session, upload_id: str) -> UploadRow | None:
    return session.get(UploadRow, upload_id)


def list_parts(session: Session, upload_id: str) -> Sequence[UploadPartRow]:
    return session.exec(select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)).all()


def measure_parts(session: Session, upload_id: str) -> tuple[int, int]:
    """How many parts there are, and their bytes together."""
    query = select(func.count(col(UploadPartRow.id)), func.coalesce(func.sum(col(UploadPartRow.bytes)), 0))
    count, size_bytes = session.exec(query.where(UploadPartRow.upload_id == upload_id)).one()
    return count, size_bytes


def delete_parts(session: Session, upload_id: str) -> list[str]:
    """Give the ids of the parts that were there; their blobs go once this is committed."""
    parts = list_parts(session, upload_id)
    for part in parts:
        session.delete(part)
    return [part.id for part in parts]


def list_overdue(session: Session, *, now: float, limit: int) -> Sequence[UploadRow]:
    """Pending uploads whose time is over."""
    query = select(UploadRow).where(UploadRow.status == UploadStatus.PENDING, UploadRow.expires_at <= now)
    return session.exec(query.limit(limit)).all()


def list_old(session: Session, *, created_before: float, limit: int) -> Sequence[UploadRow]:
    """Uploads that ended long ago."""
    query = select(UploadRow).where(UploadRow.status != UploadStatus.PENDING, UploadRow.created_at < created_before)
    return session.exec(query.limit(limit)).all()


def list_part_ids(session: Session) -> set[str]:
    return set(session.exec(select(UploadPartRow.id)))
