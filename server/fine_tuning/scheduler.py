"""Which queued job starts next."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class QueuedJob:
    id: str
    project_id: str
    seq: int  # order of creation
    not_before: float  # unix seconds


def jobs_to_start(
    queued: Sequence[QueuedJob], running_by_project: dict[str, int], *, free_slots: int, now: float
) -> list[str]:
    """Choose the jobs to start, at most `free_slots`.

    The project with the fewest running jobs goes first, then the job that has waited longest: no
    project can keep the others out by queueing many.
    """
    running = dict(running_by_project)
    ready = [job for job in queued if job.not_before <= now]
    chosen: list[str] = []
    while ready and len(chosen) < free_slots:
        job = min(ready, key=lambda job: (running.get(job.project_id, 0), job.seq))
        ready.remove(job)
        running[job.project_id] = running.get(job.project_id, 0) + 1
        chosen.append(job.id)
    return chosen
