"""Deletes the stored completions whose time is over, and those beyond what their project may have."""

from sqlmodel import Session

from server.stored_completions import repository
from server.stored_completions.bounds import Asked, Bounds, bounds_of
from server.stored_completions.repository import Sized
from server.stored_completions.service import first_of

_GONE_S = 24 * 3600.0  # how long a list can go on from a completion that was deleted


def sweep_completions(session: Session, settings: Asked, *, now: float, limit: int) -> int:
    """Delete some, over all projects; how many."""
    n_deleted = 0
    for total, project in repository.list_totals(session):
        gone = _due(
            session, project.id, total.size_bytes, bounds_of(settings, project), now=now, limit=limit - n_deleted
        )
        if gone:
            repository.delete_completions(session, project.id, gone, now=now)
            n_deleted += len(gone)
        if n_deleted >= limit:
            break
    return n_deleted


def forget_gone(session: Session, *, now: float, limit: int) -> int:
    return repository.forget_gone(session, before=now - _GONE_S, limit=limit)


def _due(session: Session, project_id: str, total_bytes: int, bounds: Bounds, *, now: float, limit: int) -> list[Sized]:
    if bounds.most_s is not None:
        over = repository.list_oldest(session, project_id, limit=limit, before=now - bounds.most_s)
        if over:
            return over
    if bounds.most_bytes is not None and total_bytes > bounds.most_bytes:
        return first_of(repository.list_oldest(session, project_id, limit=limit), total_bytes - bounds.most_bytes)
    return []
