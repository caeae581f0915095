"""Work in threads that use what is closed at the end."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *given: object, undo: Callable[[T], None] | None = None) -> T:
    """As `asyncio.to_thread`; but cancelled, it waits for the thread, and lets go of what that has made."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        if undo is not None and working.exception() is None:
            undo(working.result())
        raise
