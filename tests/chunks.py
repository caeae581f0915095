"""An engine's answer as a generator of what it gave, for tests that look at it bit by bit."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from inference.engine import AdapterRef, EngineRequest, InferenceEngine


async def chunks_of(
    engine: InferenceEngine, request: EngineRequest, adapter: AdapterRef | None
) -> AsyncGenerator[bytes]:
    """Ask; closing it cancels the request. Raises what `chat` raises, after what came before it."""
    given: asyncio.Queue[bytes | None] = asyncio.Queue()
    asking = asyncio.create_task(engine.answer(request, adapter, given.put_nowait))
    asking.add_done_callback(lambda _: given.put_nowait(None))
    try:
        while (chunk := await given.get()) is not None:
            yield chunk
        await asking
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await asking


async def answer_of(engine: InferenceEngine, request: EngineRequest, adapter: AdapterRef | None) -> bytes:
    """Ask, and gather all that comes."""
    given: list[bytes] = []
    await engine.answer(request, adapter, given.append)
    return b"".join(given)
