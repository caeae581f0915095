"""The lean client: answers as servers frame them, torn ones, kept connections, a reader that is slow."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference.vllm.http import AnswerBroken, Http

pytestmark = pytest.mark.anyio
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers the requests with the scripted bytes, one after the other; an empty piece ends the connection."""

    pieces: Callable[[int], list[bytes]]  # of the answer to the n-th request of a connection
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pieces: list[bytes] = []
        n_answered = 0
        while b"" not in pieces:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            pieces = self.pieces(n_answered)
            n_answered += 1
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)


@asynccontextmanager
async def serving(path: Path, serve: Serve, silence_timeout_s: float = 5.0) -> AsyncIterator[Http]:
    """A client of a server that ends with the block, its last connection too."""
    tasks: list[asyncio.Task[None]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.get_running_loop().create_task(serve_one(reader, writer)))

    listener = await asyncio.start_unix_server(begin, path)
    http = Http(path, silence_timeout_s)
    try:
        yield http
    finally:
        http.close()
        listener.close()
        await listener.wait_closed()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


async def ask(http: Http) -> bytes:
    return (await http.ask(b"POST", b"/x", b"body")).body


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["by its length", "in chunks"])
@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_an_answer_is_whole_however_it_is_framed_and_cut(tmp_path: Path, answer: bytes, size: int) -> None:
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    server = Server(lambda _n: pieces)
    async with serving(tmp_path / "s", server.serve) as http:
        assert await ask(http) == await ask(http) == b"hello"
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /x HTTP/1.1\r\n")
    assert server.requests[0].endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["by its length", "in chunks"])
async def test_an_answer_torn_anywhere_is_never_taken_for_a_whole_one(tmp_path: Path, answer: bytes) -> None:
    for cut in range(1, len(answer)):
        async with serving(tmp_path / "s", Server(lambda _n, cut=cut: [answer[:cut], b""]).serve) as http:  # type: ignore[misc]
            with pytest.raises(AnswerBroken):
                await ask(http)


@pytest.mark.parametrize("garbage", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"])
async def test_what_is_no_answer_is_taken_for_none(tmp_path: Path, garbage: bytes) -> None:
    async with serving(tmp_path / "s", Server(lambda _n: [garbage]).serve) as http:
        with pytest.raises(AnswerBroken):
            await ask(http)


@pytest.mark.parametrize("more", [WHOLE.replace(b"hello", b"other"), b"rubbish"])
async def test_what_comes_behind_an_answer_does_not_reach_the_next_request(tmp_path: Path, more: bytes) -> None:
    server = Server(lambda n: [WHOLE + more] if n == 0 else [WHOLE])
    async with serving(tmp_path / "s", server.serve) as http:
        assert await ask(http) == await ask(http) == b"hello"
    assert server.connections == 2


async def test_an_answer_that_ends_the_connection_ends_it(tmp_path: Path) -> None:
    server = Server(lambda _n: [WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")])
    async with serving(tmp_path / "s", server.serve) as http:
        assert await ask(http) == await ask(http) == b"hello"
    assert server.connections == 2


async def test_a_kept_connection_that_was_closed_meanwhile_costs_no_request(tmp_path: Path) -> None:
    server = Server(lambda n: [WHOLE] if n == 0 else [b""])
    async with serving(tmp_path / "s", server.serve) as http:
        assert await ask(http) == await ask(http) == b"hello"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_request_that_a_new_connection_did_not_answer_is_not_sent_again(tmp_path: Path) -> None:
    server = Server(lambda _n: [b""])
    async with serving(tmp_path / "s", server.serve) as http:
        with pytest.raises(ConnectionError):
            await ask(http)
    assert len(server.requests) == 1


async def test_nobody_who_listens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await Http(tmp_path / "s", 1).ask(b"GET", b"/")


@pytest.mark.parametrize("pieces", [[], [WHOLE[:-1]]], ids=["from the beginning", "in its middle"])
async def test_silence_ends_an_answer(tmp_path: Path, pieces: list[bytes]) -> None:
    async with serving(tmp_path / "s", Server(lambda _n: pieces).serve, silence_timeout_s=0.05) as http:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(http)
        assert 0.04 < time.monotonic() - started < 2


async def test_who_is_cancelled_before_an_answers_end_cancels_it_with_its_connection(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED[:-5])
        await reader.read()
        ended.set()

    async with serving(tmp_path / "s", serve) as http:
        given: asyncio.Queue[bytes] = asyncio.Queue()
        asking = asyncio.create_task(http.ask(b"GET", b"/", take=given.put_nowait))
        assert await given.get()
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        assert not http.is_connected


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["by its length", "in chunks"])
async def test_what_goes_wrong_with_a_taken_part_is_raised_to_who_asked(tmp_path: Path, answer: bytes) -> None:
    def take(_some: bytes) -> None:
        raise ValueError("of no use")

    async with serving(tmp_path / "s", Server(lambda _n: [answer]).serve) as http:
        with pytest.raises(ValueError, match="of no use"):
            await http.ask(b"GET", b"/", take=take)
        assert await ask(http) == b"hello"


async def test_a_slow_reader_stops_the_server_and_gets_everything_in_the_end(tmp_path: Path) -> None:
    size, written = 8 * 1024**2, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536
        await reader.read()

    async with serving(tmp_path / "s", serve) as http:
        given: list[bytes] = []
        until_taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(some: bytes) -> asyncio.Future[None] | None:
            given.append(some)
            return None if until_taken.done() else until_taken

        asking = asyncio.create_task(http.ask(b"GET", b"/", take=take))
        seen = -1
        while seen != written:  # until it gets no further
            seen = written
            for _ in range(50):
                await asyncio.sleep(0)
        assert written < size / 2
        until_taken.set_result(None)
        assert (await asking).body == b""
        assert sum(len(some) for some in given) == size
        assert http.is_connected
