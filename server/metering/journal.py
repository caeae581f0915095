"""A process's journal of usage: appended to by one write a line, so that a killed process leaves what it wrote."""

import fcntl
import logging
import os
import secrets
from pathlib import Path

_LOG = logging.getLogger("tunesmith.metering")
SUFFIX = ".jsonl"
_ROTATE_BYTES = 16 * 1024**2


class Journal:
    """Only its own process writes it, from one thread. Its file is locked while it is written."""

    def __init__(self, directory: Path, *, rotate_bytes: int = _ROTATE_BYTES) -> None:
        self._directory = directory
        self._rotate_bytes = rotate_bytes
        self._unwritten = b""  # what the disk had no room for
        self._size = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = _create(directory)

    def append(self, lines: bytes) -> None:
        """Hand whole lines to the kernel. On a full disk they are kept for the next time, and nobody is stopped."""
        waiting = self._unwritten + lines if self._unwritten else lines
        try:
            written = os.write(self._descriptor, waiting)
        except OSError as error:
            if not self._unwritten:
                _LOG.error("usage cannot be written to its journal, and is kept in memory: %s", error.strerror)
            written = 0
        self._unwritten = waiting[written:]
        self._size += written
        if self._size >= self._rotate_bytes and not self._unwritten:
            self._rotate()

    def close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1  # the number is soon another file's

    def _rotate(self) -> None:
        """Begin a new file; the old one is unlocked, and so is folded and removed like one of a dead process."""
        try:
            fresh = _create(self._directory)
        except OSError:
            return  # the next line tries again
        os.close(self._descriptor)
        self._descriptor, self._size = fresh, 0


def _create(directory: Path) -> int:
    """Lock the file before it has the name under which it is looked for: nobody takes it for an abandoned one."""
    name = directory / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
    unnamed = name.with_suffix(".new")
    descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(name)
    return descriptor
