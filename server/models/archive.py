"""The directory of a published adapter as one tar: streamed from the disk, the same bytes each time."""

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 256 * 1024


class ArchiveTorn(Exception):
    """A file became shorter while it was read: the archive must not look whole."""


@dataclass(frozen=True)
class Archive:
    size_bytes: int
    chunks: Iterator[bytes]  # close it, or let it go, and the files are closed


def safe_name(model: str) -> str:
    """A model's name as a file's: no client, shell or file system finds anything in it to trip over."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"


def open_archive(directory: Path, *, top: str, created_at: int) -> Archive:
    """Archive every file of a directory under the folder `top`.

    Every file is open when this returns: deleting the directory meanwhile takes nothing from the archive.

    Raises:
        FileNotFoundError: the directory is not there, or is being deleted.
    """
    chunks = _archive(directory, top, created_at)
    size = int(next(chunks))
    return Archive(size, chunks)


def _archive(directory: Path, top: str, created_at: int) -> Iterator[bytes]:
    """First the size in decimal digits, so that the files are open, and closed by whoever closes this; then the tar."""
    with ExitStack() as stack:
        entries = [
            _entry(stack.enter_context(path.open("rb")), f"{top}/{path.name}", created_at) for path in _files(directory)
        ]
        body_bytes = sum(len(header) + size + _padding(size, tarfile.BLOCKSIZE) for header, size, _ in entries)
        end_bytes = 2 * tarfile.BLOCKSIZE
        end_bytes += _padding(body_bytes + end_bytes, tarfile.RECORDSIZE)
        yield str(body_bytes + end_bytes).encode()
        for header, size, file in entries:
            yield header
            yield from _read(file, size)
            yield bytes(_padding(size, tarfile.BLOCKSIZE))
        yield bytes(end_bytes)


def _files(directory: Path) -> list[Path]:
    """Plain files alone: a link could lead anywhere."""
    found = sorted(path for path in directory.iterdir() if path.is_file() and not path.is_symlink())
    if not found:
        raise FileNotFoundError(directory)
    return found


def _entry(file: BinaryIO, name: str, created_at: int) -> tuple[bytes, int, BinaryIO]:
    info = tarfile.TarInfo(name)
    info.size = os.fstat(file.fileno()).st_size
    info.mtime = created_at
    return info.tobuf(tarfile.PAX_FORMAT), info.size, file


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise ArchiveTorn
        left -= len(chunk)
        yield chunk


def _padding(size: int, unit: int) -> int:
    return -size % unit
