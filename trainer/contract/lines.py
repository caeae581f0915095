"""A data file as numbered lines, in memory that does not grow with the file."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from trainer.contract.foreign_files import HEAD_BYTES, refuse_foreign_file
from trainer.contract.invalid import FileInvalid

MAX_LINE_BYTES = 8 * 1024**2
_CHUNK_BYTES = 256 * 1024  # a cache holds it; more are parsed more slowly


def numbered_lines(source: Path | Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank with its number, counted from 1, blank ones included.

    A byte order mark at the very start, carriage returns and a missing last newline are accepted.

    Raises:
        FileInvalid: a line is longer than `MAX_LINE_BYTES`, or the file is no text in UTF-8.
    """
    for first, lines in line_blocks(source):
        for number, line in enumerate(lines, start=first):
            if line := line.strip(b" \t\r\n"):
                yield number, line


def line_blocks(source: Path | Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lines as they stand but for their newlines, several at a time, with the number of the first.

    Raises:
        FileInvalid: a line is longer than `MAX_LINE_BYTES`, or the file is no text in UTF-8.
    """
    number, rest = 1, bytearray()
    for chunk in _without_mark(_chunks(source)):
        lines = chunk.split(b"\n")
        rest += lines[0]
        _refuse_too_long(rest, number)
        if len(lines) > 1:
            lines[0] = bytes(rest)
            rest = bytearray(lines.pop())
            if len(chunk) > MAX_LINE_BYTES:
                for i, line in enumerate(lines):
                    _refuse_too_long(line, number + i)
            yield number, lines
            number += len(lines)
            _refuse_too_long(rest, number)
    if rest:
        yield number, [bytes(rest)]


def _chunks(source: Path | Iterable[bytes]) -> Iterator[bytes]:
    if not isinstance(source, Path):
        yield from source
        return
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes after the mark that some editors put at the start, once it is known that they can be JSON Lines."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    refuse_foreign_file(head)
    return chain([head.removeprefix(codecs.BOM_UTF8)], chunks)


def _refuse_too_long(line: bytes | bytearray, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise FileInvalid(
            number,
            None,
            f"The line is longer than {MAX_LINE_BYTES // 1024**2} MiB. "
            "Write one JSON object per line and split very long examples.",
        )
