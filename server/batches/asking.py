"""The worker's way to what answers: a request of a batch, to the first API process, over its private unix socket."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from server.batches.outcomes import Answer

PATH_FIELD, PROJECT_FIELD, KEY_FIELD = b"x-path", b"x-project", b"x-key"
REQUEST_ID_FIELD = b"x-request-id"
_MOST_HEAD_BYTES = 64 * 1024


class Unreachable(Exception):
    """Nobody answered, or not to the end."""


class Request(NamedTuple):
    path: str
    project_id: str
    key_id: str
    body: bytes


class Asker(Protocol):
    async def __call__(self, request: Request) -> Answer:
        """Raises: Unreachable."""
        ...


@dataclass(frozen=True)
class ControlSocket:
    """An `Asker`. A connection for each request: cut, it ends what the engine does for it."""

    path: Path

    async def __call__(self, request: Request) -> Answer:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.path), limit=_MOST_HEAD_BYTES)
        except OSError as error:
            raise Unreachable from error
        try:
            writer.write(_head(request) + request.body)
            return await _read(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise Unreachable from error
        finally:
            writer.transport.abort()


def _head(request: Request) -> bytes:
    fields = [
        (PATH_FIELD, request.path.encode()),
        (PROJECT_FIELD, request.project_id.encode()),
        (KEY_FIELD, quote(request.key_id).encode()),
        (b"content-length", b"%d" % len(request.body)),
    ]
    written = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"POST /requests HTTP/1.1\r\nhost: localhost\r\n" + written + b"\r\n"


async def _read(reader: asyncio.StreamReader) -> Answer:
    """Raises: ValueError: that is no answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(fields.get("content-length", "")))
    request_id = fields.get(REQUEST_ID_FIELD.decode())
    if request_id is None:  # not the relay's, but of the process around it
        raise ValueError("the answer is not one to a request")
    return Answer(int(first.split(" ")[1]), request_id, body)
