"""Server-sent events as engines write them: `data: …` and an empty line."""

DONE = b"data: [DONE]"
_BEGINNING, _END = b"data: ", b"\n\n"
_TAIL_BYTES = 64


class EventSplitter:
    """Cuts a stream of bytes into the payloads of its events, wherever the bytes were cut on the way."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the payloads (what follows `data: `) that are complete with this chunk."""
        if self._rest:
            chunk = self._rest + chunk
        elif chunk.find(_END) == len(chunk) - 2 and chunk.startswith(_BEGINNING) and b"\r" not in chunk:
            return [chunk[6:-2]]  # one event, as it nearly always is
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n")
        *events, self._rest = chunk.split(_END)
        return [event[6:] for event in events if event.startswith(_BEGINNING)]


class EndWatch:
    """Remembers whether a stream has come to its end, `data: [DONE]`."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        self._tail = chunk if len(chunk) >= _TAIL_BYTES else self._tail[-_TAIL_BYTES:] + chunk

    @property
    def is_complete(self) -> bool:
        return self._tail.rstrip().endswith(DONE)
