"""Many that end their waits together leave no place behind: one that leaves lets in another, which leaves, too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.fair_queue.gate import Gate

Enter = Callable[[Gate], Coroutine[Any, Any, float]]
KINDS: dict[str, tuple[Enter, Callable[[Gate], None]]] = {
    "clients": (lambda gate: gate.enter("p", at_most=None), lambda gate: gate.leave("p")),
    "background": (lambda gate: gate.enter_background("p"), lambda gate: gate.leave_background("p")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_after_many_gave_up_at_once_all_places_are_there(kind: str) -> None:
    async def give_up() -> None:
        enter, leave = KINDS[kind]
        gate = Gate(8, max_wait_s=60)
        tasks = [asyncio.create_task(enter(gate)) for _ in range(20)]
        await asyncio.sleep(0)
        inside = [task for task in tasks if task.done()]
        outside = [task for task in tasks if not task.done()]
        for task in outside:
            task.cancel()
        for _ in inside:
            leave(gate)
        ends = await asyncio.gather(*outside, return_exceptions=True)
        for end in ends:
            if not isinstance(end, BaseException):
                leave(gate)

        assert {type(end) for end in ends} <= {asyncio.CancelledError, float}
        assert (gate.answering, gate.waiting, *gate.in_background) == (0, 0, 0, 0)

    asyncio.run(give_up())
