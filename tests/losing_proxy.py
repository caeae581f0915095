"""A proxy that loses: requests before the server has them, answers after it has acted; and lets retries overtake."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FATES = ("pass", "drop", "lose the answer", "cut the answer", "come late")
_LATEST_S = 0.3
_PASSES_FROM = 3  # the retry from which on nothing is lost: clients give up after five
_COUNT = b"x-stainless-retry-count: "


class LosingProxy:
    """One connection is one request. `fates` is what became of them."""

    def __init__(self, target: tuple[str, int], *, seed: int) -> None:
        self.fates: list[str] = []
        self._target = target
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._late: list[threading.Timer] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @contextmanager
    def serving(self) -> Iterator[None]:
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            yield
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            accepting.join()

    def wait_for_the_late(self) -> None:
        """Until every request that was held back has come and was answered."""
        for timer in self._late:
            timer.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = _read_request(client)
            fate, delay_s = self._choose(request)
            if fate == "come late":
                timer = threading.Timer(delay_s, self._forward, (request,))
                self._late.append(timer)
                timer.start()
            elif fate != "drop":
                answer = self._forward(request)
                if fate == "pass":
                    client.sendall(answer)
                elif fate == "cut the answer":
                    client.sendall(answer[: len(answer) // 2])

    def _choose(self, request: bytes) -> tuple[str, float]:
        with self._lock:
            fate = self._random.choice(FATES)
            delay_s = self._random.uniform(0.0, _LATEST_S)
            if request.startswith(b"GET") or _count(request) >= _PASSES_FROM:
                fate = "pass"
            self.fates.append(fate)
            return fate, delay_s

    def _forward(self, request: bytes) -> bytes:
        """The whole answer; nothing if the server was killed."""
        with suppress(OSError), socket.create_connection(self._target, timeout=60) as server:
            server.sendall(request)
            with server.makefile("rb") as stream:
                return stream.read()
        return b""


def _read_request(client: socket.socket) -> bytes:
    """With the wish that both sides close after it."""
    with client.makefile("rb") as stream:
        lines = []
        while (line := stream.readline()) not in (b"\r\n", b""):
            lines.append(line)
        lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        kept = [line for line in lines if not line.lower().startswith(b"connection:")]
        return b"".join([*kept, b"connection: close\r\n\r\n", stream.read(sum(lengths))])


def _count(request: bytes) -> int:
    head = request.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(_COUNT)[2].partition(b"\r\n")[0] or 0)
