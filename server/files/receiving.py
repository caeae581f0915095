"""Takes in a large body: what has come is parsed, hashed and written in a thread while more comes."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from server.errors import InvalidRequest

_PIECE_BYTES = 1024 * 1024  # what goes to a thread at once; two of them are in memory


async def receive_body(request: Request, feed: Callable[[list[bytes]], None]) -> None:
    """Give the whole body to `feed`, in order and never twice at once. When this ends, `feed` has too.

    Raises:
        InvalidRequest: the client broke off; and what `feed` raises.
    """
    feeding: asyncio.Task[None] | None = None
    try:
        async for chunks in _pieces(request):
            if feeding is not None:
                await feeding
            feeding = asyncio.create_task(run_in_threadpool(feed, chunks))
        if feeding is not None:
            await feeding
    except ClientDisconnect as error:
        raise InvalidRequest("The upload broke off; nothing of it was kept.") from error
    finally:
        if feeding is not None:
            await asyncio.gather(feeding, return_exceptions=True)


async def _pieces(request: Request) -> AsyncIterator[list[bytes]]:
    """The body in pieces worth a thread's while."""
    gathered: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        gathered.append(chunk)
        size_bytes += len(chunk)
        if size_bytes >= _PIECE_BYTES:
            yield gathered
            gathered, size_bytes = [], 0
    yield gathered
