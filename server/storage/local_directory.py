"""Blobs as files of one directory, with half-written ones in `tmp/` beside them."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from server.ids import random_base62
from server.storage.blob_store import BlobInfo, BlobKey, BlobMissing, BlobStoreFull
from trainer.contract.run_directory import sync_directory

_CHUNK_BYTES = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalDirectory:
    """A `BlobStore`. The directory is made if it is not there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unfinished = root / "tmp"
        self._unfinished.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writer(self, key: BlobKey) -> Iterator["_LocalWriter"]:
        destination = self._path(key)
        with _full_disk_named(), self._begin(key) as file:
            temporary = Path(file.name)
            try:
                yield _LocalWriter(file, temporary, destination)
            finally:
                temporary.unlink(missing_ok=True)

    def put(self, key: BlobKey, chunks: Iterable[bytes]) -> BlobInfo:
        with self.writer(key) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit()

    def open(self, key: BlobKey, *, start: int = 0) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(key) from error
        return _read(file, start)

    def stage(self, key: BlobKey, destination: Path) -> None:
        source = self._path(key)
        temporary = destination.with_name(f"{destination.name}.{random_base62(8)}.tmp")
        try:
            _link_or_copy(source, temporary)
        except FileNotFoundError as error:
            if source.exists():
                raise
            raise BlobMissing(key) from error
        if destination.exists():
            destination.unlink()  # renaming one link of a file over another would leave both
        temporary.replace(destination)

    def delete(self, key: BlobKey) -> None:
        self._path(key).unlink(missing_ok=True)

    def sweep(self, *, before: float, is_known: Callable[[BlobKey], bool]) -> int:
        unfinished = [path for path in self._unfinished.iterdir() if path.is_file()]
        unknown = [path for path in self._root.iterdir() if path.is_file() and not is_known(BlobKey(path.name))]
        broken_off = sum(_delete_if_abandoned(path) for path in unfinished)
        return broken_off + sum(_delete_if_older(path, before) for path in unknown)

    def _begin(self, key: BlobKey) -> BinaryIO:
        """Make a file and lock it. The lock is gone with this process: a sweep sees who still writes."""
        while True:
            file = (self._unfinished / f"{key}.{random_base62(8)}").open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:  # else a sweep came in between
                return file
            file.close()

    def _path(self, key: BlobKey) -> Path:
        if not key.replace("-", "").replace("_", "").isalnum() or not key.isascii():
            raise ValueError("a blob's key is made of letters, digits, '_' and '-'")
        return self._root / key


class _LocalWriter:
    def __init__(self, file: BinaryIO, temporary: Path, destination: Path) -> None:
        self._file = file
        self._temporary = temporary
        self._destination = destination
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self._size_bytes += len(chunk)

    def commit(self) -> BlobInfo:
        self._file.flush()
        os.utime(self._file.fileno())  # a slow client's last byte may be old; a sweep goes by this
        os.fsync(self._file.fileno())
        self._temporary.replace(self._destination)
        sync_directory(self._destination.parent)
        return BlobInfo(self._size_bytes, self._digest.hexdigest())


def _read(file: BinaryIO, start: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        os.link(source, destination)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        with _full_disk_named():
            shutil.copyfile(source, destination)


def _delete_if_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def _delete_if_older(path: Path, before: float) -> bool:
    try:
        if path.stat().st_mtime >= before:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise BlobStoreFull("no space is left where files are kept") from error
        raise
