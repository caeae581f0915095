"""When an event is tried again, and whose turn it is: tables."""

import pytest

from server.webhooks.delivering.schedule import GIVE_UP_AFTER_S, Standing, next_try_at
from server.webhooks.delivering.turns import Waiting, choose

HOUR = 3600.0


@pytest.mark.parametrize(
    ("n_tries", "chance", "delay_s"),
    [
        (1, 0.5, 5.0),
        (1, 0.0, 4.0),
        (1, 1.0, 6.0),
        (2, 0.5, 30.0),
        (3, 0.5, 120.0),
        (4, 0.5, 600.0),
        (5, 0.5, 1800.0),
        (6, 0.5, HOUR),
        (7, 0.5, 2 * HOUR),
        (8, 0.5, 4 * HOUR),
        (9, 0.5, 8 * HOUR),
        (10, 0.5, 12 * HOUR),
        (10, 0.25, 10.8 * HOUR),
        (14, 0.5, 12 * HOUR),
    ],
)
def test_the_next_try_is_later_each_time(n_tries: int, chance: float, delay_s: float) -> None:
    assert next_try_at(Standing(0.0, n_tries), now=1000.0, chance=chance) == pytest.approx(1000.0 + delay_s)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_it_is_tried_for_three_days_and_then_given_up(chance: float) -> None:
    now, tries = 0.0, 1
    while (following := next_try_at(Standing(0.0, tries), now=now, chance=chance)) is not None:
        assert following > now
        now, tries = following, tries + 1

    assert GIVE_UP_AFTER_S - 14.4 * HOUR < now <= GIVE_UP_AFTER_S
    assert 12 <= tries <= 17


def waiting(name: str, due_at: float = 0.0) -> Waiting:
    """`a1` is the first endpoint of project a."""
    return Waiting(name, name[0], due_at)


@pytest.mark.parametrize(
    ("due", "under_way", "places", "expected"),
    [
        ([], [], 8, []),
        (["a1"], [], 8, ["a1", "a1"]),  # no more than two at once to one receiver
        (["a1"], ["a1"], 8, ["a1"]),
        (["a1"], ["a1", "a1"], 8, []),
        (["a1", "b1"], [], 12, ["a1", "b1", "a1", "b1"]),
        (["a1", "a2", "a3"], [], 4, ["a1", "a2"]),  # one project alone has half of the places
        (["a1", "a2", "a3", "b1"], [], 6, ["a1", "b1", "a2", "b1"]),
        (["b1"], ["a1", "a1", "a2", "a2"], 8, ["b1", "b1"]),  # a flood leaves room for whoever comes
        (["b1", "c1"], ["a1", "a1", "a2"], 4, ["b1"]),
        (["a1"], ["b1", "c1", "d1"], 3, []),
        (["a1"], [], 1, ["a1"]),
    ],
)
def test_whose_turn_it_is(due: list[str], under_way: list[str], places: int, expected: list[str]) -> None:
    chosen = choose([waiting(name) for name in due], [waiting(name) for name in under_way], places=places)

    assert [one.endpoint_id for one in chosen] == expected


def test_of_one_project_s_endpoints_the_one_that_waits_longest_is_first() -> None:
    chosen = choose([waiting("a1", 9.0), waiting("a2", 3.0)], [], places=2)

    assert [one.endpoint_id for one in chosen] == ["a2"]
