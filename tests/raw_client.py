"""A client that sends bytes as they are told, and reads answers one by one."""

import socket
from dataclasses import dataclass, field
from types import TracebackType

import httptools


@dataclass
class RawAnswer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    is_whole: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class RawClient:
    """One connection. `answers` are those that have begun."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self._parser = httptools.HttpResponseParser(self)
        self.answers: list[RawAnswer] = []
        self.is_ended = False

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def read(self, answers: int = 1) -> list[RawAnswer]:
        """Read until so many answers more are whole, or the connection ends. Gives all that came meanwhile."""
        n_before = len(self.answers)
        while not self.is_ended and sum(answer.is_whole for answer in self.answers[n_before:]) < answers:
            self.read_some()
        return self.answers[n_before:]

    def read_some(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.is_ended = not data
        if data:
            self._parser.feed_data(data)

    def read_to_end(self) -> None:
        while not self.is_ended:
            self.read_some()

    def on_message_begin(self) -> None:
        self.answers.append(RawAnswer())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answers[-1].headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.answers[-1].status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answers[-1].parts.append(body)

    def on_message_complete(self) -> None:
        self.answers[-1].is_whole = True
