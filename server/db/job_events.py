"""How an event gets into a job's list, whoever has something to say."""

from typing import Any

from sqlmodel import Session

from server.db.tables import JobEventRow, JobRow
from server.ids import new_event_id
from server.vocabulary import EventLevel, EventType


def add_job_event(
    session: Session,
    job: JobRow,
    message: str,
    *,
    now: float,
    level: EventLevel = EventLevel.INFO,
    type: EventType = EventType.MESSAGE,
    data: dict[str, Any] | None = None,
) -> None:
    session.add(
        JobEventRow(
            id=new_event_id(),
            project_id=job.project_id,
            job_id=job.id,
            created_at=int(now),
            level=level,
            type=type,
            message=message,
            data=data or {},
        )
    )
