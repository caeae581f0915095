"""Result files as plain text: OpenAI sends base64 of the CSV since 2024 (pure)."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

from server.importing.errors import ObjectFailed

_LOOKED_AT_BYTES = 4096
_BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*")


def plain_text(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The text in base64, if that is what comes; else what comes.

    Raises:
        ObjectFailed: it began as base64 and does not go on so.
    """
    parts = iter(chunks)
    head = b""
    for chunk in parts:
        head += chunk
        if len(head) >= _LOOKED_AT_BYTES:
            break
    everything = _joined(head, parts)
    return _decoded(everything) if is_base64_of_csv(head[:_LOOKED_AT_BYTES]) else everything


def is_base64_of_csv(head: bytes) -> bool:
    """Whether a file that begins so is base64 of text with commas. A CSV file itself has characters base64 lacks."""
    if not _BASE64.fullmatch(head):
        return False
    letters = head.translate(None, b"\r\n")
    try:
        first_line = base64.b64decode(letters[: len(letters) // 4 * 4]).decode("ascii", "strict").partition("\n")[0]
    except (binascii.Error, UnicodeDecodeError):
        return False
    return "," in first_line and first_line.rstrip("\r").isprintable()


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _decoded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        pending += chunk.translate(None, b"\r\n")
        whole = len(pending) // 4 * 4
        yield _decode(pending[:whole])
        pending = pending[whole:]
    yield _decode(pending)


def _decode(letters: bytes) -> bytes:
    try:
        return base64.b64decode(letters, validate=True)
    except binascii.Error as error:
        raise ObjectFailed("its content begins as base64 and does not go on so") from error
