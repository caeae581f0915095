"""All SQL of training files that were made of stored completions."""

from sqlmodel import Session, col, select

from server.db.project_session import ProjectSession
from server.db.tables import CompletionExportRow


def find_export(session: ProjectSession, export_id: str) -> CompletionExportRow | None:
    return session.get(CompletionExportRow, export_id)


def forget_exports(session: Session, *, before: float, limit: int) -> int:
    """Of all projects, for the sweeper. The files stay."""
    old = session.exec(
        select(CompletionExportRow).where(col(CompletionExportRow.created_at) < before).limit(limit)
    ).all()
    for row in old:
        session.delete(row)
    return len(old)
