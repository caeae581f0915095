"""The members of a tar, read strictly: plain files and folders, with long names; whatever else there is is refused.

Python's own reader knows more kinds of members than anybody sends here, and believes what their headers say.
"""

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from server.adapter_imports.members import MOST_MEMBERS, Member, check_name, no_link, too_many_members
from server.adapter_imports.unusable import shown, unusable

_BLOCK = 512
_MAX_EXTENSION_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024
_SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)
_FILE, _FOLDER, _PAX, _PAX_OF_ALL, _LONG_NAME = (b"0", b"\0"), b"5", b"x", b"g", b"L"


def list_tar(file: BinaryIO) -> list[Member]:
    """Give the plain files. Their contents are read when they are asked for; the file has to be open then.

    Raises:
        InvalidRequest: it is no tar, is cut short, or holds what is not taken.
    """
    size = os.fstat(file.fileno()).st_size
    members: list[Member] = []
    position, said = 0, dict[str, str]()
    for _ in range(3 * MOST_MEMBERS):  # a member may have two headers before its own
        file.seek(position)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            return members
        _check_sum(header)
        kind, begin = header[156:157], position + _BLOCK
        length = int(said["size"]) if "size" in said and kind in _FILE else _number(header[124:136])
        if length > size - begin:
            raise unusable("The archive is cut short. Send it again.")
        position = begin + length + -length % _BLOCK
        if kind in (_PAX, _PAX_OF_ALL, _LONG_NAME):
            extension = _read_extension(file, kind, length)
            said |= {} if kind == _PAX_OF_ALL else extension
            continue
        name = said.get("path") or _name(header)
        check_name(name)
        if kind in _FILE:
            members.append(Member(name, partial(_read, file, begin, length)))
        elif kind != _FOLDER:
            raise no_link(name)
        said = {}
        if len(members) > MOST_MEMBERS:
            break
    raise too_many_members()


def _check_sum(header: bytes) -> None:
    computed = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if len(header) < _BLOCK or _number(header[148:156]) != computed:
        raise unusable("The file is neither a tar nor a zip, or it is damaged. Send one that `tar -cf` made.")


def _number(field: bytes) -> int:
    """Octal digits, or, with the highest bit, a number in base 256. Raises: InvalidRequest."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        if not digits:
            return 0
        raise unusable("The file is neither a tar nor a zip, or it is damaged. Send one that `tar -cf` made.")
    return int(digits, 8)


def _name(header: bytes) -> str:
    parts = [header[345:500] if header[257:262] == b"ustar" else b"", header[:100]]
    return "/".join(part.split(b"\0")[0].decode("utf-8", errors="replace") for part in parts if part.strip(b"\0"))


def _read_extension(file: BinaryIO, kind: bytes, length: int) -> dict[str, str]:
    if length > _MAX_EXTENSION_BYTES:
        raise unusable("A header of the archive is far too large.")
    data = file.read(length)
    if kind == _LONG_NAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", errors="replace")}
    found = dict(_records(data))
    if any(key.startswith("GNU.sparse") for key in found):
        raise unusable("The archive holds sparse files. Make it without --sparse.")
    if not _SIZE.fullmatch(found.get("size", "0")):
        raise unusable("A header of the archive is damaged.")
    return {key: found[key] for key in ("path", "size") if key in found}


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Of a pax header: "<length> <key>=<value>\\n", one after the other."""
    while data.strip(b"\0"):
        digits, space, _ = data[:16].partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        key, equals, value = data[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
        if not equals or length > len(data):
            raise unusable("A header of the archive is damaged.")
        yield shown(key.decode("utf-8", errors="replace")), value.decode("utf-8", errors="replace")
        data = data[length:]


def _read(file: BinaryIO, begin: int, length: int) -> Iterator[bytes]:
    file.seek(begin)
    while length and (chunk := file.read(min(length, _CHUNK_BYTES))):
        length -= len(chunk)
        yield chunk
