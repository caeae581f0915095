"""The least that relaying can be: plain asyncio on both sides, bytes as they come, nobody asked who they are.

`python -m benchmarks.bare_relay --uds ENGINE --listen-fd N`. It reads a request's head for its length, hands head and
body to the engine on a connection that is kept, and gives the answer back as it comes, to its length or its last chunk.
What it leaves out is what a gateway is for: keys, projects, names, fields, usage, errors, a client that hangs up.
"""

import argparse
import asyncio
import re
import socket

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_PIECE = 64 * 1024
_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class BareRelay:
    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._idle: list[_Pair] = []

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                await self._relay(head + body, writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def _relay(self, request: bytes, client: asyncio.StreamWriter) -> None:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_unix_connection(self._engine)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length:
            client.write(head + await reader.readexactly(int(length[1])))
        else:
            client.write(head)
            tail = b""
            while tail != _LAST_CHUNK:
                piece = await reader.read(_PIECE)
                client.write(piece)
                await client.drain()
                tail = (tail + piece)[-len(_LAST_CHUNK) :]
        await client.drain()
        self._idle.append((reader, writer))


async def _serve(engine: str, listener: socket.socket) -> None:
    server = await asyncio.start_server(BareRelay(engine).serve_client, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given.uds, socket.socket(fileno=given.listen_fd)))
