"""Many that end their waits together leave no place behind: one that leaves lets in another, which leaves, too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.fair_queue.gate import Entered, Gate

Enter = Callable[[Gate, int], Coroutine[Any, Any, Entered]]
KINDS: dict[str, tuple[Enter, Callable[[Gate, int], None]]] = {
    "clients": (lambda gate, n: gate.enter("p", at_most=None, n=n), lambda gate, places: gate.leave("p", places)),
    "background": (
        lambda gate, n: gate.enter_background("p", n=n),
        lambda gate, places: gate.leave_background("p", places),
    ),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_after_many_gave_up_at_once_all_places_are_there(kind: str, n: int) -> None:
    async def give_up() -> None:
        enter, leave = KINDS[kind]
        gate = Gate(8, max_wait_s=60)
        tasks = [asyncio.create_task(enter(gate, n)) for _ in range(20)]
        await asyncio.sleep(0)
        inside = [task for task in tasks if task.done()]
        outside = [task for task in tasks if not task.done()]
        for task in outside:
            task.cancel()
        for task in inside:
            leave(gate, task.result().places)
        ends = await asyncio.gather(*outside, return_exceptions=True)
        for end in ends:
            if not isinstance(end, BaseException):
                leave(gate, end.places)

        assert {type(end) for end in ends} <= {asyncio.CancelledError, Entered}
        assert (gate.answering, gate.waiting, *gate.in_background) == (0, 0, 0, 0)

    asyncio.run(give_up())
