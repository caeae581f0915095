"""All SQL about remembered requests."""

from sqlmodel import Session, col, delete, select

from server.db.project_session import ProjectSession
from server.db.tables import RememberedRequestRow

_MOST_ALIKE = 100


def find_by_key(session: ProjectSession, idempotency_key: str) -> RememberedRequestRow | None:
    query = select(RememberedRequestRow).where(RememberedRequestRow.idempotency_key == idempotency_key)
    return session.exec(query).first()


def list_alike(
    session: ProjectSession, *, key_id: str, operation: str, fingerprint: str, since: float
) -> list[RememberedRequestRow]:
    """The requests of this API key, without an idempotency key, that asked for the same. Newest first."""
    query = (
        select(RememberedRequestRow)
        .where(
            RememberedRequestRow.fingerprint == fingerprint,
            RememberedRequestRow.key_id == key_id,
            RememberedRequestRow.operation == operation,
            RememberedRequestRow.created_at > since,
            col(RememberedRequestRow.idempotency_key).is_(None),
        )
        .order_by(col(RememberedRequestRow.id).desc())
    )
    return list(session.exec(query.limit(_MOST_ALIKE)))


def forget_old(session: Session, *, before: float, limit: int) -> int:
    """Delete the oldest rows that the session sees. How many there were."""
    old = select(RememberedRequestRow.id).where(col(RememberedRequestRow.created_at) <= before)
    ids = list(session.exec(old.order_by(col(RememberedRequestRow.created_at)).limit(limit)))
    session.exec(delete(RememberedRequestRow).where(col(RememberedRequestRow.id).in_(ids)))
    return len(ids)
