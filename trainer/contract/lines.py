"""A data file as numbered lines, in memory that does not grow with the file."""

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainer.contract.invalid import ExampleInvalid

MAX_LINE_BYTES = 8 * 1024**2
_CHUNK_BYTES = 1024**2
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def numbered_lines(source: Path | Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank with its number, counted from 1, blank ones included.

    A byte order mark at the very start, carriage returns and a missing last newline are accepted.

    Raises:
        ExampleInvalid: a line is longer than `MAX_LINE_BYTES`, or the file is UTF-16.
    """
    number = 0
    for number, line in enumerate(_split(_chunks(source)), start=1):
        if number == 1:
            if line.startswith(_UTF16_MARKS):
                raise ExampleInvalid(1, None, "The file is not UTF-8 but UTF-16. Save it as UTF-8.")
            line = line.removeprefix(codecs.BOM_UTF8)
        line = line.strip(b" \t\r\n")
        if line:
            yield number, line


def _chunks(source: Path | Iterable[bytes]) -> Iterator[bytes]:
    if not isinstance(source, Path):
        yield from source
        return
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut at newlines; hold at most one line and one chunk."""
    number, rest = 1, bytearray()
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest += first
        _refuse_too_long(rest, number)
        for line in others:
            yield bytes(rest)
            number += 1
            rest = bytearray(line)
            _refuse_too_long(rest, number)
    if rest:
        yield bytes(rest)


def _refuse_too_long(line: bytearray, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise ExampleInvalid(
            number,
            None,
            f"The line is longer than {MAX_LINE_BYTES // 1024**2} MiB. "
            "Write one JSON object per line and split very long examples.",
        )
