import asyncio
from collections import Counter

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
        while (ticket := turns.next()) is not None:
            let_in.append(ticket)

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
        assert isinstance(let_in, tuple)
        order.append(let_in[0])

    assert Counter(order) == {"a": 2, "b": 2, "c": 2}


def test_one_of_a_project_does_not_pass_another_of_it_by() -> None:
    turns = Turns(2)
    _fill(turns, "a", 2)
    turns.leave("a")

    assert not turns.enter("a")
    assert turns.next() == ("a", 1)


def test_one_place_is_enough_to_serve_everybody_in_turn() -> None:
    turns = Turns(1)
    assert _fill(turns, "a", 2) == 1
    assert _fill(turns, "b", 2) == 0
    turns.leave("a")

    assert turns.next() == ("a", 1)
    turns.leave("a")
    assert turns.next() == ("b", 0)


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("+-")), max_size=200))
def test_places_are_never_too_many_and_nobody_waits_without_a_reason(places: int, asked: list[tuple[str, str]]) -> None:
    turns, answering, tickets = Turns(places), Counter[str](), 0
    for project, what in asked:
        if what == "+":
            tickets += 1
            if turns.enter(project):
                answering[project] += 1
            else:
                turns.wait(project, (project, tickets))
        elif answering[project]:
            answering[project] -= 1
            turns.leave(project)
        while (ticket := turns.next()) is not None:
            assert isinstance(ticket, tuple)
            answering[ticket[0]] += 1
        assert turns.answering == answering.total() <= places
        if turns.waiting:
            assert turns.answering > 0
    for project, n in answering.items():
        assert turns.under_way(project) >= n


def test_while_a_light_project_is_there_the_heavy_ones_have_few_places() -> None:
    now = [0.0]
    turns = Turns(64, beside_light=8, clock=lambda: now[0])
    assert _fill(turns, "light", 1) == 1
    turns.leave("light")
    assert _fill(turns, "heavy", 100) == 8
    assert _fill(turns, "light", 1) == 1  # never kept waiting

    turns.leave("heavy")
    assert turns.next() == ("heavy", 8)
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
        assert await second >= 0
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
