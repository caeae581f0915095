"""The members of a zip: stored or deflated plain files; nothing of it is held in memory but its list."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from io import SEEK_SET
from typing import BinaryIO

from server.adapter_imports.members import MOST_MEMBERS, Member, check_name, no_link, too_many_members
from server.adapter_imports.unusable import shown, unusable
from server.errors import InvalidRequest

_MAX_READ_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def list_zip(file: BinaryIO) -> list[Member]:
    """Give the plain files. Their contents are read when they are asked for; the file has to be open then.

    Raises:
        InvalidRequest: it is damaged, or holds what is not taken.
    """
    try:
        archive = zipfile.ZipFile(_Sparing(file))
    except _DAMAGED as error:
        raise _damaged() from error
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise too_many_members()
    members = []
    for info in listed:
        check_name(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise no_link(info.filename)
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise unusable(
                f"The archive's member '{shown(info.filename)}' is encrypted, or compressed otherwise than by deflate. "
                "Send a plain tar: weights do not compress."
            )
        if not info.is_dir():
            members.append(Member(info.filename, partial(_inflate, archive, info)))
    return members


class _Sparing:
    """A file for zipfile, which would read a list of members of any size into memory at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seekable, self.tell = file.seekable, file.tell

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # before the beginning
            raise zipfile.BadZipFile from error

    def read(self, n_bytes: int = -1) -> bytes:
        most = _MAX_READ_BYTES + 1
        data = self._file.read(most if n_bytes < 0 else min(n_bytes, most))
        if len(data) == most:
            raise zipfile.BadZipFile
        return data

    def close(self) -> None:
        """It is whoever's opened it."""


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK_BYTES):
                yield chunk
    except _DAMAGED as error:
        raise _damaged() from error


def _damaged() -> InvalidRequest:
    return unusable("The archive is a damaged zip, or one with far too long a list. Send a plain tar: `tar -cf`.")
