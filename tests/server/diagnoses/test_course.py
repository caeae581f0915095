"""What is kept of a run: small, exact, and the same however its events arrive."""

import json
import math
from dataclasses import replace
from itertools import islice

import pytest

from server.fine_tuning.diagnoses.course import MAX_SLICES, Course
from server.fine_tuning.diagnoses.diagnose import diagnose
from server.fine_tuning.diagnoses.tally import Tally, is_clearly_above, pooled, relative_noise
from tests.curves import Run, falling, line

RUN = Run(falling(2.0, 1.0), valid=falling(2.0, 1.1), steps=130, epochs=5)


def followed(run: Run, *, seed: int = 0) -> Course:
    course = Course(run.facts)
    for event in run.events(seed):
        course.add(event)
    return course


def reloaded(course: Course) -> Course:
    return Course.load(course.facts, json.loads(json.dumps(course.dump())))


def test_a_course_is_read_back_number_for_number() -> None:
    course = followed(RUN)
    assert reloaded(course) == course
    assert reloaded(Course(RUN.facts)) == Course(RUN.facts)


def test_a_course_that_is_kept_after_each_step_ends_the_same() -> None:
    course = Course(RUN.facts)
    for event in RUN.events(0):
        course = reloaded(course)
        course.add(event)
    assert course == followed(RUN)


def test_a_step_that_comes_again_changes_nothing_and_is_no_time_to_look() -> None:
    course, events = Course(RUN.facts), list(RUN.events(0))
    for event in events[:60]:
        course.add(event)
    assert not any(course.add(event) for event in events[20:60])
    for event in events[20:]:
        course.add(event)
    assert course == followed(RUN)


@pytest.mark.parametrize("steps", [1, 2, 59, 60, 61, 6_000])
def test_its_size_and_the_looks_at_it_do_not_grow_with_the_steps(steps: int) -> None:
    run = replace(RUN, steps=steps, epochs=1)
    course = Course(run.facts)
    looks = sum(course.add(event) for event in run.events(0))
    assert len(course.slices) == min(steps, MAX_SLICES)
    assert sum(part.loss.n for part in course.slices) == steps
    assert looks <= 2 * 20 + 1
    assert len(json.dumps(course.dump())) < 20_000


def test_the_longest_job_is_kept_small() -> None:
    assert len(json.dumps(followed(replace(RUN, steps=5_000, epochs=50)).dump())) < 40_000


def test_losses_and_norms_of_any_size_can_be_kept() -> None:
    course = followed(replace(RUN, loss=lambda _: 1e300, valid=lambda _: 1e300, norm=lambda _: 1e300))
    assert "Infinity" not in json.dumps(course.dump())
    assert reloaded(course) == course


def test_a_run_whose_beginning_was_not_seen_is_not_judged() -> None:
    hot = Run(line((0.0, 2.0), (0.1, 6.0), (1.0, 6.0)))
    late = Course(hot.facts)
    for event in islice(hot.events(0), 30, None):
        late.add(event)
    assert diagnose(late, set()) == []
    assert diagnose(followed(hot), set()) != []


def test_what_was_said_is_not_said_again() -> None:
    course = followed(Run(line((0.0, 2.0), (0.1, 6.0), (1.0, 6.0))))
    (finding,) = diagnose(course, set())
    assert diagnose(course, {finding.name}) == []


def test_pooled_tallies_are_one_tally_of_all_numbers() -> None:
    numbers = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.3]
    whole, parts = Tally(), [Tally(), Tally(), Tally()]
    for index, number in enumerate(numbers):
        whole.add(number)
        parts[min(index, 1)].add(number)
    pool = pooled(parts)
    assert (pool.n, pool.highest) == (7, 9.0)
    assert pool.mean == pytest.approx(sum(numbers) / 7)
    assert pool.squares == pytest.approx(sum((number - whole.mean) ** 2 for number in numbers))


@pytest.mark.parametrize("steps", [40, 600])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_the_noise_of_a_loss_is_known_from_its_slices(noise: float, steps: int) -> None:
    course = followed(replace(RUN, noise=noise, steps=steps, loss=lambda _: 2.0))
    assert course.noise == pytest.approx(noise, rel=0.5)


def test_a_few_wild_steps_do_not_make_a_run_noisy() -> None:
    run = replace(
        RUN, noise=0.1, steps=600, loss=lambda share: 50.0 if share < 0.1 and int(share * 600) % 7 == 0 else 2.0
    )
    assert followed(run).noise < 0.15


def test_means_differ_only_beyond_chance() -> None:
    low, high = Tally(4, 1.0), Tally(4, 2.0)
    assert is_clearly_above(high, low, times=1.5, plus=0.1, noise=0.1)
    assert not is_clearly_above(high, low, times=1.5, plus=0.1, noise=0.5)
    assert not is_clearly_above(high, low, times=2.0, plus=0.1, noise=0.0)
    assert not is_clearly_above(high, Tally(), times=1.0, plus=0.0, noise=0.0)
    assert relative_noise([]) == relative_noise([Tally(1, 2.0)]) == 0.0
    assert math.isfinite(relative_noise([Tally(1, 2.0), Tally(1, 0.0), Tally(1, 3.0)]))
