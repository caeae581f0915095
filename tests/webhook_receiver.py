"""A receiver of webhooks on loopback, which does with each connection what a test says."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.webhooks.outside.resolving import Resolve
from server.webhooks.outside.sending import Limits, Sender
from server.webhooks.outside.urls import Policy

CERTIFICATE = Path(__file__).with_name("webhook_receiver.pem")  # of hooks.example.com, by itself, with its key
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ANYWHERE = Policy(allow_private=True, allow_http=True)


@dataclass(frozen=True)
class Received:
    line: str
    headers: dict[str, str]
    body: bytes


Behave = Callable[[socket.socket, "Receiver"], None]  # with the connection of a request that has been read


def answering(answer: bytes) -> Behave:
    return lambda connection, _: connection.sendall(answer)


def status(code: int, *headers: str) -> Behave:
    return answering("\r\n".join((f"HTTP/1.1 {code} x", *headers, "content-length: 0", "", "")).encode())


def closing(_connection: socket.socket, _receiver: "Receiver") -> None:
    return


def hanging(_connection: socket.socket, receiver: "Receiver") -> None:
    receiver.released.wait(30)


def dripping(head: bytes) -> Behave:
    """Say something, then a byte at a time, for ever."""

    def drip(connection: socket.socket, receiver: "Receiver") -> None:
        connection.sendall(head)
        while not receiver.released.wait(0.02):
            connection.sendall(b"x")

    return drip


def flooding(connection: socket.socket, receiver: "Receiver") -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while not receiver.released.is_set():
        receiver.flooded_bytes += connection.send(b"x" * 65536)


@dataclass
class Receiver:
    """Behaves to the n-th request as the n-th of `behaviours` says, and to all after them as the last."""

    behaviours: list[Behave] = field(default_factory=lambda: [answering(OK)])
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    flooded_bytes: int = 0

    def __enter__(self) -> "Receiver":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?x=1"

    def wait(self) -> None:
        """For one more request."""
        assert self.arrived.acquire(timeout=30)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        with suppress(OSError), connection:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                request = _read(connection)
                if request is None:
                    return
                self.received.append(request)
                behave = self.behaviours[min(len(self.received), len(self.behaviours)) - 1]
                self.arrived.release()
                behave(connection, self)


def make_sender(
    *,
    policy: Policy = ANYWHERE,
    resolve: Resolve | None = None,
    whole_s: float = 20.0,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Sender:
    """By default one that goes anywhere, and knows no name."""
    return Sender(policy, resolve or _no_names, Limits(whole_s, whole_s, rest_s=0.1), tls=tls, clock=clock)


def _no_names(_host: str) -> list[str]:
    raise OSError


def _read(connection: socket.socket) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        some = connection.recv(65536)
        if not some:
            return None
        data += some
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(text.split(": ", 1) for text in lines)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return Received(line, headers, body)
