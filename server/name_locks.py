"""Locks by name between the processes of the service: held in one file, and free again when their holder is killed."""

import fcntl
import hashlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_FLOCK = "hhqqi4x"  # Linux's struct flock: type, whence, start, length, pid


class HeldName:
    """A name that is held until `release`, or until the process ends, however it does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.release()


class NameLocks:
    """Safe from several threads and processes. The file is never written: each name is a byte of it that may be locked.

    Each hold opens the file for itself, as these locks are between open files: so threads keep each other out too.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self, *name: str) -> HeldName | None:
        """Hold a name; None: somebody holds it. Never waits."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _exclusive(_offset(name)))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return HeldName(descriptor)

    def take_one(self, of: int, *name: str) -> HeldName | None:
        """Hold one of so many places that a name has; None: all are held. Never waits."""
        taken = (self.take(*name, str(place)) for place in range(of))
        return next((held for held in taken if held is not None), None)


def _offset(name: tuple[str, ...]) -> int:
    text = "\0".join(name).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 2  # the last byte a file can have is at 2^63 - 2


def _exclusive(offset: int) -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
