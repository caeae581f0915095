"""The results of a batch: a file that is appended to, durable before anything counts, whole after any kill.

A line is a head (the request's number, its kind and its tokens) and, behind a tab, the line of the output or error
file. What a kill tore off at the end is dropped when the file is opened.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from server.batches.outcomes import Kind, Outcome, TokensUsed


class Result(NamedTuple):
    request: int  # from 0
    outcome: Outcome


@dataclass
class Tally:
    """What results come to."""

    completed: int = 0
    failed: int = 0
    expired: int = 0  # of the failed
    used: TokensUsed = field(default_factory=TokensUsed)

    def add(self, outcome: Outcome) -> None:
        self.completed += outcome.kind is Kind.ANSWERED
        self.failed += outcome.kind is not Kind.ANSWERED
        self.expired += outcome.kind is Kind.EXPIRED
        self.used += outcome.used


class ResultsFile:
    """For one writer. `is_answered` has a 1 for each request that has its result."""

    def __init__(self, path: Path, total: int) -> None:
        self.path = path
        self.is_answered = bytearray(total)
        self.tally = Tally()
        self._size = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for result in read_results(path, total):
            self._count(result)
        self._size = _whole_bytes(path)
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        os.fsync(self._descriptor)

    @property
    def unanswered(self) -> int:
        return len(self.is_answered) - self.tally.completed - self.tally.failed

    def append(self, results: Sequence[Result]) -> None:
        """Make them durable; only then they count.

        Raises: OSError: none of them does.
        """
        rendered = b"".join([_render(result) for result in results])
        try:
            _write_all(self._descriptor, rendered)
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(rendered)
        for result in results:
            self._count(result)

    def close(self) -> None:
        os.close(self._descriptor)

    def _count(self, result: Result) -> None:
        if not self.is_answered[result.request]:
            self.is_answered[result.request] = 1
            self.tally.add(result.outcome)


def read_results(path: Path, total: int) -> Iterator[Result]:
    """Give the first result of each request, in the order in which they came. A damaged line is none."""
    seen = bytearray(total)
    with path.open("rb") as file:
        for line in file:
            result = _read(line)
            if result is not None and result.request < total and not seen[result.request]:
                seen[result.request] = 1
                yield result


def _render(result: Result) -> bytes:
    request, (kind, line, used) = result
    head = b"%d %b %d %d %d %d" % (request, kind.value.encode(), *used)
    return head + b"\t" + line + b"\n"


def _read(raw: bytes) -> Result | None:
    head, tab, line = raw.partition(b"\t")
    if not tab or not line.endswith(b"}\n"):
        return None
    try:
        request, kind, *used = head.split(b" ")
        tokens = TokensUsed(*map(int, used))
        return Result(int(request), Outcome(Kind(kind.decode()), line[:-1], tokens))
    except (ValueError, TypeError):
        return None


def _whole_bytes(path: Path) -> int:
    """Up to the end of the last whole line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        while size:
            start = max(0, size - 65536)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            size = start
    return 0


def _write_all(descriptor: int, rendered: bytes) -> None:
    view = memoryview(rendered)
    while view:
        view = view[os.write(descriptor, view) :]
