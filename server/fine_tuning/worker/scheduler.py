"""Which queued job starts next (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class QueuedJob:
    id: str
    project_id: str
    seq: int  # order of creation
    not_before: float  # unix seconds
    needed_bytes: int = 0  # of memory; 0: not known


@dataclass(frozen=True)
class Free:
    """What is free for trainers. A job whose needs are not known takes a slot and no bytes."""

    slots: int
    available_bytes: int | None = None  # for all trainers together; None: not known
    admitted_bytes: tuple[int, ...] = ()  # of each that is running or about to

    def has_room_for(self, needed_bytes: int) -> bool:
        """Whether it fits beside the others. One alone is let in: it was found to fit when it was validated."""
        if self.slots <= 0:
            return False
        if self.available_bytes is None or not self.admitted_bytes:
            return True
        return sum(self.admitted_bytes) + needed_bytes <= self.available_bytes

    def admit(self, needed_bytes: int) -> "Free":
        return Free(self.slots - 1, self.available_bytes, (*self.admitted_bytes, needed_bytes))


def jobs_to_start(
    queued: Sequence[QueuedJob], running_by_project: dict[str, int], *, free: Free, now: float
) -> list[str]:
    """Choose the jobs to start, as many as there are slots and memory for.

    The project with the fewest running jobs goes first, then the job that has waited longest: no
    project can keep the others out by queueing many. While the next one waits for memory, nobody overtakes it.
    """
    running = dict(running_by_project)
    ready = [job for job in queued if job.not_before <= now]
    chosen: list[str] = []
    while ready:
        job = min(ready, key=lambda job: (running.get(job.project_id, 0), job.seq))
        if not free.has_room_for(job.needed_bytes):
            break
        free = free.admit(job.needed_bytes)
        ready.remove(job)
        running[job.project_id] = running.get(job.project_id, 0) + 1
        chosen.append(job.id)
    return chosen
