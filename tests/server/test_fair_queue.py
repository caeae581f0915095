import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import Busy
from server.fair_queue.gate import Gate, TooManyAnswers
from server.fair_queue.turns import Turns


def _fill(turns: Turns, project: str, n: int) -> int:
    """Ask for n places; those that do not come at once are lined up for. How many came at once."""
    entered = 0
    for number in range(n):
        if turns.enter(project):
            entered += 1
        else:
            turns.wait(project, (project, number))
    return entered


def test_a_project_alone_has_a_half_of_the_places() -> None:
    assert _fill(Turns(16), "a", 100) == 8


def test_who_comes_next_is_let_in_at_once_however_long_the_others_queue() -> None:
    turns = Turns(16)
    _fill(turns, "a", 100)
    entered = [_fill(turns, project, 100) for project in "bcd"]

    assert entered == [5, 3, 0]
    assert turns.answering == 16


def test_a_place_that_becomes_free_goes_to_who_has_fewest() -> None:
    turns = Turns(8)
    for project in "abc":
        _fill(turns, project, 10)
    let_in = []
    for left in ("a", "a", "b", "c", "c"):
        turns.leave(left)
        while (one := turns.next()) is not None:
            let_in.append(one.ticket)

    assert let_in == [("b", 2), ("c", 2), ("c", 3)]
    assert turns.answering == 6  # two are kept free for who comes next


def test_projects_with_equally_many_take_turns() -> None:
    turns = Turns(3)
    for project in "abc":
        _fill(turns, project, 20)
    order = []
    for last in "abcabc":
        turns.leave(last)
        let_in = turns.next()
        assert let_in is not None
        assert isinstance(let_in.ticket, tuple)
        order.append(let_in.ticket[0])

    assert Counter(order) == {"a": 2, "b": 2, "c": 2}


def test_one_of_a_project_does_not_pass_another_of_it_by() -> None:
    turns = Turns(2)
    _fill(turns, "a", 2)
    turns.leave("a")

    assert not turns.enter("a")
    assert turns.next() == (("a", 1), 1)


def test_one_place_is_enough_to_serve_everybody_in_turn() -> None:
    turns = Turns(1)
    assert _fill(turns, "a", 2) == 1
    assert _fill(turns, "b", 2) == 0
    turns.leave("a")

    assert turns.next() == (("a", 1), 1)
    turns.leave("a")
    assert turns.next() == (("b", 0), 1)


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("+-"), st.integers(1, 30)), max_size=200),
)
def test_places_are_never_too_many_and_nobody_waits_without_a_reason(
    places: int, asked: list[tuple[str, str, int]]
) -> None:
    turns, given_to, tickets = Turns(places), defaultdict[str, list[int]](list), 0
    for project, what, n in asked:
        if what == "+":
            tickets += 1
            if given := turns.enter(project, n):
                given_to[project].append(given)
            else:
                turns.wait(project, (project, tickets), n)
        elif given_to[project]:
            turns.leave(project, given_to[project].pop())
        while (let_in := turns.next()) is not None:
            assert isinstance(let_in.ticket, tuple)
            given_to[let_in.ticket[0]].append(let_in.places)
        assert_so_many(turns, given_to, places)


def assert_so_many(turns: Turns, given_to: Mapping[str, list[int]], places: int) -> None:
    """`given_to`: the places of each request, by project."""
    assert turns.taken == sum(map(sum, given_to.values())) <= places
    assert turns.answering == sum(map(len, given_to.values()))
    assert turns.taken > 0 or not turns.waiting
    assert all(turns.under_way(project) >= len(given) for project, given in given_to.items())


@pytest.mark.parametrize(
    ("n", "most"),
    [(1, 8), (2, 4), (3, 2), (8, 1), (128, 1)],  # of a half of sixteen
)
def test_a_request_for_many_answers_takes_as_many_places(n: int, most: int) -> None:
    turns = Turns(16)
    given = [turns.enter("a", n) for _ in range(10)]

    assert given == [min(n, 8)] * most + [0] * (10 - most)
    assert turns.enter("b") == 1, "whoever comes next is let in at once"
    assert turns.enter("b", 128) == 0, "what it has under way is all it may have"


def test_a_large_request_waits_for_its_projects_others_and_is_not_passed_by() -> None:
    turns = Turns(16)
    assert [turns.enter("a") for _ in range(3)] == [1, 1, 1]
    turns.wait("a", "large", 100)
    assert turns.enter("a") == 0
    turns.wait("a", "small")
    let_in = []
    for _ in range(3):
        turns.leave("a")
        let_in.append(turns.next())

    assert let_in == [None, None, ("large", 8)]
    assert turns.next() is None
    turns.leave("a", 8)
    assert turns.next() == ("small", 1)


def test_while_a_light_project_is_there_the_heavy_ones_have_few_places() -> None:
    now = [0.0]
    turns = Turns(64, beside_light=8, clock=lambda: now[0])
    assert _fill(turns, "light", 1) == 1
    turns.leave("light")
    assert _fill(turns, "heavy", 100) == 8
    assert _fill(turns, "light", 1) == 1  # never kept waiting

    turns.leave("heavy")
    assert turns.next() == (("heavy", 8), 1)
    assert _fill(turns, "heavy too", 100) == 4


def test_without_a_light_project_in_the_last_minute_the_heavy_ones_have_all_there_is() -> None:
    now = [0.0]
    turns = Turns(64, beside_light=8, clock=lambda: now[0])
    assert _fill(turns, "light", 1) == 1
    turns.leave("light")
    now[0] = 61.0
    assert _fill(turns, "heavy", 100) == 32
    assert _fill(turns, "heavy too", 100) == 21


def _gate(places: int = 2, max_wait_s: float = 60.0) -> Gate:
    return Gate(places, max_wait_s=max_wait_s)


def test_a_waiting_request_goes_on_when_another_ends() -> None:
    async def scenario() -> list[str]:
        gate, order = _gate(), list[str]()
        await gate.enter("a", at_most=None)
        second = asyncio.ensure_future(gate.enter("a", at_most=None))
        second.add_done_callback(lambda _: order.append("second entered"))
        await asyncio.sleep(0)
        order.append("first leaves")
        gate.leave("a")
        assert (await second).waited_s >= 0
        return order

    assert asyncio.run(scenario()) == ["first leaves", "second entered"]


def test_more_answers_than_a_project_may_have_are_refused() -> None:
    async def scenario() -> None:
        gate = _gate(places=8)
        for _ in range(2):
            await gate.enter("a", at_most=2)
        await gate.enter("b", at_most=2)
        await gate.enter("a", at_most=2)

    with pytest.raises(TooManyAnswers, match="at most 2 at once") as refused:
        asyncio.run(scenario())
    assert refused.value.headers() == {"retry-after": "1"}
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")


def test_a_wait_that_is_too_long_ends_and_leaves_the_line() -> None:
    async def scenario() -> tuple[int, int]:
        gate = _gate(max_wait_s=0.0)
        await gate.enter("a", at_most=None)
        with pytest.raises(Busy) as refused:
            await gate.enter("a", at_most=None)
        assert "retry-after" in refused.value.headers()
        gate.leave("a")
        return gate.answering, gate.waiting

    assert asyncio.run(scenario()) == (0, 0)


def test_a_client_that_goes_while_it_waits_leaves_the_line() -> None:
    async def scenario() -> tuple[int, int]:
        gate = _gate()
        await gate.enter("a", at_most=None)
        gone = asyncio.ensure_future(gate.enter("a", at_most=None))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        return gate.answering, gate.waiting

    assert asyncio.run(scenario()) == (1, 0)


def test_a_client_that_goes_in_the_moment_it_is_let_in_gives_its_place_on() -> None:
    async def scenario() -> tuple[int, int]:
        gate = _gate()
        await gate.enter("a", at_most=None)
        gone, next_one = (asyncio.ensure_future(gate.enter("a", at_most=None)) for _ in range(2))
        await asyncio.sleep(0)
        gate.leave("a")
        gone.cancel()
        await asyncio.wait([gone])
        await next_one
        return gate.answering, gate.waiting

    assert asyncio.run(scenario()) == (1, 0)
