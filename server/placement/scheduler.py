"""Which waiting job starts next, and on which device (pure)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from server.placement.facts import JobFacts


@dataclass(frozen=True)
class DeviceRoom:
    """What there is for trainers on one device. A job whose needs are not known takes no bytes."""

    index: int = 0
    available_bytes: int | None = None  # for all trainers together; None: not known
    admitted_bytes: tuple[int, ...] = ()  # of each that is running or about to

    def has_room_for(self, needed_bytes: int) -> bool:
        """Whether it fits beside the others. One alone is let in: it was found to fit when it was validated."""
        if self.available_bytes is None or not self.admitted_bytes:
            return True
        return sum(self.admitted_bytes) + needed_bytes <= self.available_bytes

    def admit(self, needed_bytes: int) -> "DeviceRoom":
        return replace(self, admitted_bytes=(*self.admitted_bytes, needed_bytes))


@dataclass(frozen=True)
class Start:
    job_id: str
    device: int = 0


def jobs_to_start(
    jobs: Sequence[JobFacts], *, slots: int, trainer_bytes: Mapping[int, int | None], now: float
) -> tuple[Start, ...]:
    """Choose the jobs to start, as many as there are slots and memory for beside those that run.

    The project with the fewest running jobs goes first, then the job that has waited longest: no
    project can keep the others out by queueing many. While the next one waits for memory, nobody overtakes it.
    An import needs no slot, and has its turn by its age: neither a stream of these nor one of jobs keeps the other out.
    """
    running = Counter(job.project_id for job in jobs if job.has_slot and job.needs_slot)
    free = slots - sum(running.values())
    rooms = [_room(jobs, index, available) for index, available in trainer_bytes.items()]
    waiting = [job for job in jobs if job.waits and job.not_before <= now]
    chosen: list[Start] = []
    while allowed := [job for job in waiting if free > 0 or not job.needs_slot]:
        job = _next(allowed, running)
        fitting = [room for room in rooms if room.has_room_for(job.needed_bytes)]
        if not fitting:
            break
        room = min(fitting, key=lambda room: (len(room.admitted_bytes), room.index))
        rooms[rooms.index(room)] = room.admit(job.needed_bytes)
        waiting.remove(job)
        running[job.project_id] += job.needs_slot
        free -= job.needs_slot
        chosen.append(Start(job.id, room.index))
    return tuple(chosen)


def _next(allowed: Sequence[JobFacts], running: Mapping[str, int]) -> JobFacts:
    """The job whose turn it is, or the oldest import, if that is older."""
    jobs, imports = ([job for job in allowed if job.needs_slot is needs_slot] for needs_slot in (True, False))
    heads = [min(jobs, key=lambda job: (running[job.project_id], job.seq))] if jobs else []
    heads += [min(imports, key=lambda found: found.seq)] if imports else []
    return min(heads, key=lambda head: head.created_at)


def _room(jobs: Sequence[JobFacts], index: int, available_bytes: int | None) -> DeviceRoom:
    """A job that says no device is counted on every one."""
    admitted = (job.needed_bytes for job in jobs if job.holds_memory and job.device in (None, index))
    return DeviceRoom(index, available_bytes, tuple(admitted))
