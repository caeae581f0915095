"""Which queued job starts next, by table."""

import random
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.placement.facts import JobFacts
from server.placement.scheduler import jobs_to_start


def queue(*names: str) -> list[JobFacts]:
    """`a1 a2 b1`: jobs of the projects a and b in the order of their creation."""
    return [JobFacts(name, name[0], seq, waits=True) for seq, name in enumerate(names, start=1)]


def running(**projects: int) -> list[JobFacts]:
    """`a=2`: two jobs of the project a."""
    return [
        JobFacts(f"{project}-{n}", project, 0, has_slot=True, holds_memory=True)
        for project, count in projects.items()
        for n in range(count)
    ]


def chosen(jobs: list[JobFacts], *, slots: int, available: int | None = None, now: float = 1.0) -> list[str]:
    starts = jobs_to_start(jobs, slots=slots, trainer_bytes={0: available}, now=now)
    return [start.job_id for start in starts]


CHOICES: dict[str, tuple[list[JobFacts], list[JobFacts], int, list[str]]] = {
    "nothing queued": (queue(), running(), 3, []),
    "no slot": (queue("a1"), running(), 0, []),
    "more running than there are slots": (queue("a1"), running(b=3), 2, []),
    "the oldest first": (queue("a1", "a2", "a3"), running(), 1, ["a1"]),
    "as many as there are slots": (queue("a1", "a2", "a3"), running(), 2, ["a1", "a2"]),
    "fewer than there are slots": (queue("a1"), running(), 2, ["a1"]),
    "projects take turns": (queue("a1", "a2", "a3", "b1"), running(), 2, ["a1", "b1"]),
    "who has least running is first": (queue("a1", "a2", "b1"), running(a=1), 2, ["b1"]),
    "what was just chosen counts as running": (
        queue("a1", "a2", "a3", "b1", "b2"),
        running(a=1),
        4,
        ["b1", "a1", "b2"],
    ),
    "another's running jobs keep nobody out": (queue("a1"), running(a=5, b=1), 7, ["a1"]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_next_jobs_are_those_the_table_says(name: str) -> None:
    queued, running_jobs, slots, expected = CHOICES[name]
    assert expected == chosen([*queued, *running_jobs], slots=slots)


def test_the_order_of_creation_counts_whatever_order_the_jobs_come_in() -> None:
    assert chosen(queue("a1", "a2", "a3")[::-1], slots=2) == ["a1", "a2"]


def test_a_job_that_waits_after_a_crash_keeps_nobody_waiting() -> None:
    queued = [JobFacts("a1", "a", 1, not_before=50.0, waits=True), *queue("x", "b1")[1:]]
    assert chosen(queued, slots=2, now=49.9) == ["b1"]
    assert chosen(queued, slots=2, now=50.0) == ["a1", "b1"]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(min_value=0, max_value=6))
def test_no_project_gets_two_more_than_another_that_still_waits(projects: list[str], slots: int) -> None:
    queued = [JobFacts(f"{project}{seq}", project, seq, waits=True) for seq, project in enumerate(projects)]
    jobs = chosen(queued, slots=slots)

    assert len(jobs) == len(set(jobs)) == min(slots, len(queued))
    started = {project: sum(job[0] == project for job in jobs) for project in "abc"}
    for waiting in {job.project_id for job in queued if job.id not in jobs}:
        assert max(started.values()) <= started[waiting] + 1


# bytes each waiting job needs, of each that runs, slots, what there is, how many may start
MEMORY: dict[str, tuple[list[int], list[int], int, int | None, int]] = {
    "all fit": ([3, 3, 3], [], 9, 10, 3),
    "no more than fit": ([4, 4, 4], [], 9, 10, 2),
    "what runs already counts": ([4, 4], [4], 9, 10, 1),
    "nobody overtakes one that waits for memory": ([4, 9, 1], [], 9, 10, 1),
    "slots count, too": ([1, 1, 1], [], 2, 10, 2),
    "one alone is let in": ([11], [], 1, 10, 1),
    "but not beside another": ([11], [0], 2, 10, 0),
    "an unknown need takes a slot only": ([0, 0, 10], [], 9, 10, 3),
    "unknown memory": ([10, 10], [10], 9, None, 2),
}


@pytest.mark.parametrize("name", MEMORY)
def test_several_trainers_share_the_memory(name: str) -> None:
    needs, taken, slots, available, expected = MEMORY[name]
    queued = [JobFacts(f"a{i}", "a", i, need, waits=True) for i, need in enumerate(needs)]
    there = [JobFacts(f"b{i}", "b", i, need, has_slot=True, holds_memory=True) for i, need in enumerate(taken)]
    assert chosen([*queued, *there], slots=slots, available=available) == [f"a{i}" for i in range(expected)]


def test_in_200_admissions_memory_is_never_promised_twice() -> None:
    """Jobs come and end at random; each needs no more than there is, as the planner has made sure."""
    chance, available = random.Random(7), 1000
    jobs: dict[str, JobFacts] = {}
    admitted = together = 0
    for seq in count():
        jobs[f"j{seq}"] = JobFacts(f"j{seq}", chance.choice("abc"), seq, chance.randint(1, available), waits=True)
        for name in chosen(list(jobs.values()), slots=6, available=available):
            jobs[name] = replace(jobs[name], waits=False, has_slot=True, holds_memory=True)
            admitted += 1
        training = [job for job in jobs.values() if job.holds_memory]
        assert sum(job.needed_bytes for job in training) <= available
        together = max(together, len(training))
        if training and chance.random() < 0.6:
            jobs.pop(chance.choice(training).id)
        if admitted >= 200:
            break
    assert together > 1


def imported(created_at: float, **facts: bool) -> JobFacts:
    return JobFacts("i", "a", 99, 6, needs_slot=False, created_at=created_at, **facts)


def waiting_jobs(*created_at: float) -> list[JobFacts]:
    return [JobFacts(f"a{i}", "a", i, 6, waits=True, created_at=at) for i, at in enumerate(created_at)]


def test_an_import_starts_without_a_slot() -> None:
    assert chosen([imported(9.0, waits=True), *waiting_jobs(1.0, 2.0)], slots=0) == ["i"]
    assert chosen([imported(9.0, waits=True), *waiting_jobs(1.0, 2.0)], slots=1) == ["a0", "i"]


@pytest.mark.parametrize(("created_at", "starts"), [(0.5, ["i"]), (1.5, ["a0"]), (9.0, ["a0"])])
def test_where_memory_is_for_one_the_older_of_an_import_and_a_job_that_could_start_goes_first(
    created_at: float, starts: list[str]
) -> None:
    jobs = waiting_jobs(1.0, 2.0)
    assert chosen([*jobs, imported(created_at, waits=True)], slots=2, available=6) == starts
    assert chosen([*jobs, imported(created_at, waits=True)], slots=0, available=6) == ["i"], "none of them could"


def test_what_an_import_takes_is_memory_and_no_slot() -> None:
    looked_at = imported(0.5, has_slot=True, holds_memory=True)
    assert chosen([looked_at, *waiting_jobs(1.0)], slots=1, available=12) == ["a0"]
    assert chosen([looked_at, *waiting_jobs(1.0)], slots=1, available=11) == []
    assert chosen([imported(0.5, waits=True), *running(b=1), *waiting_jobs(1.0)], slots=2, available=1) == []
