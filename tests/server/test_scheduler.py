"""Which queued job starts next, by table."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fine_tuning.worker.scheduler import Free, QueuedJob, jobs_to_start


def queue(*names: str) -> list[QueuedJob]:
    """`a1 a2 b1`: jobs of the projects a and b in the order of their creation."""
    return [QueuedJob(name, name[0], seq, not_before=0.0) for seq, name in enumerate(names, start=1)]


CHOICES: dict[str, tuple[list[QueuedJob], dict[str, int], int, list[str]]] = {
    "nothing queued": (queue(), {}, 3, []),
    "no slot": (queue("a1"), {}, 0, []),
    "more running than there are slots": (queue("a1"), {"b": 3}, -1, []),
    "the oldest first": (queue("a1", "a2", "a3"), {}, 1, ["a1"]),
    "as many as there are slots": (queue("a1", "a2", "a3"), {}, 2, ["a1", "a2"]),
    "fewer than there are slots": (queue("a1"), {}, 2, ["a1"]),
    "projects take turns": (queue("a1", "a2", "a3", "b1"), {}, 2, ["a1", "b1"]),
    "who has least running is first": (queue("a1", "a2", "b1"), {"a": 1}, 1, ["b1"]),
    "what was just chosen counts as running": (queue("a1", "a2", "a3", "b1", "b2"), {"a": 1}, 3, ["b1", "a1", "b2"]),
    "another's running jobs keep nobody out": (queue("a1"), {"a": 5, "b": 1}, 1, ["a1"]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_next_jobs_are_those_the_table_says(name: str) -> None:
    queued, running, free_slots, expected = CHOICES[name]
    assert expected == jobs_to_start(queued, running, free=Free(free_slots), now=1.0)


def test_the_order_of_creation_counts_whatever_order_the_jobs_come_in() -> None:
    backwards = queue("a1", "a2", "a3")[::-1]
    assert jobs_to_start(backwards, {}, free=Free(2), now=1.0) == ["a1", "a2"]


def test_a_job_that_waits_after_a_crash_keeps_nobody_waiting() -> None:
    queued = [QueuedJob("a1", "a", 1, not_before=50.0), *queue("x", "b1")[1:]]
    assert jobs_to_start(queued, {}, free=Free(2), now=49.9) == ["b1"]
    assert jobs_to_start(queued, {}, free=Free(2), now=50.0) == ["a1", "b1"]


def test_what_is_running_is_not_changed_for_the_caller() -> None:
    running = {"a": 1}
    jobs_to_start(queue("a1", "b1"), running, free=Free(2), now=1.0)
    assert running == {"a": 1}


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(min_value=0, max_value=6))
def test_no_project_gets_two_more_than_another_that_still_waits(projects: list[str], free_slots: int) -> None:
    queued = [QueuedJob(f"{project}{seq}", project, seq, 0.0) for seq, project in enumerate(projects)]
    chosen = jobs_to_start(queued, {}, free=Free(free_slots), now=1.0)

    assert len(chosen) == len(set(chosen)) == min(free_slots, len(queued))
    started = {project: sum(job[0] == project for job in chosen) for project in "abc"}
    for waiting in {job.project_id for job in queued if job.id not in chosen}:
        assert max(started.values()) <= started[waiting] + 1


MEMORY: dict[str, tuple[list[int], Free, int]] = {  # bytes each waiting job needs, what is free, how many may start
    "all fit": ([3, 3, 3], Free(9, 10), 3),
    "no more than fit": ([4, 4, 4], Free(9, 10), 2),
    "what runs already counts": ([4, 4], Free(9, 10, (4,)), 1),
    "nobody overtakes one that waits for memory": ([4, 9, 1], Free(9, 10), 1),
    "slots count, too": ([1, 1, 1], Free(2, 10), 2),
    "one alone is let in": ([11], Free(1, 10), 1),
    "but not beside another": ([11], Free(1, 10, (0,)), 0),
    "an unknown need takes a slot only": ([0, 0, 10], Free(9, 10), 3),
    "unknown memory": ([10, 10], Free(9, None, (10,)), 2),
}


@pytest.mark.parametrize("name", MEMORY)
def test_several_trainers_share_the_memory(name: str) -> None:
    needs, free, expected = MEMORY[name]
    queued = [QueuedJob(f"a{i}", "a", i, 0.0, needed_bytes=need) for i, need in enumerate(needs)]
    assert jobs_to_start(queued, {}, free=free, now=1.0) == [f"a{i}" for i in range(expected)]


def test_in_200_admissions_memory_is_never_promised_twice() -> None:
    """Jobs come and end at random; each needs no more than there is, as the planner has made sure."""
    chance, available = random.Random(7), 1000
    waiting: list[QueuedJob] = []
    running: dict[str, int] = {}
    admitted = together = 0
    for seq in count():
        waiting.append(QueuedJob(f"j{seq}", chance.choice("abc"), seq, 0.0, chance.randint(1, available)))
        free = Free(6 - len(running), available, tuple(running.values()))
        for chosen in jobs_to_start(waiting, {}, free=free, now=1.0):
            (job,) = [job for job in waiting if job.id == chosen]
            waiting.remove(job)
            running[job.id] = job.needed_bytes
            admitted += 1
        assert sum(running.values()) <= available
        together = max(together, len(running))
        if running and chance.random() < 0.6:
            running.pop(chance.choice(sorted(running)))
        if admitted >= 200:
            break
    assert together > 1
