"""Journals → the table of usage: each line once, whoever folds and whenever anybody is killed."""

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from server.db.system_session import system_session
from server.metering import repository
from server.metering.journal import SUFFIX
from server.metering.lines import sum_lines, whole_lines

_LOG = logging.getLogger("tunesmith.metering")
_EVERY_S = 5.0
_BATCH_BYTES = 1024**2  # of one transaction, which excludes other writers


class Folder:
    """Reads the journals of all processes. May run in several at once: the read position is in the transaction."""

    def __init__(self, database: Engine, directory: Path) -> None:
        self._database = database
        self._directory = directory

    def run(self, stop: Event) -> None:
        """Fold now and then, until told to stop."""
        while True:
            try:
                self.fold()
            except (DBAPIError, OSError) as error:
                _LOG.error("usage could not be folded, and is at the next time: %s", type(error).__name__)
            if stop.wait(_EVERY_S):
                return

    def fold(self) -> None:
        """Take in every whole line, and remove the journals of dead processes."""
        while self.unfolded_bytes() or self._abandoned():
            abandoned = list(self._abandoned())  # before they are read: nobody writes to these any more
            with system_session(self._database, write=True) as session:
                is_read = [self._read(session, path) for path in self._journals()]
                repository.forget_journals(session, [path.name for path in self._journals()])
            if all(is_read):
                for path in abandoned:
                    path.unlink(missing_ok=True)
                return

    def unfolded_bytes(self) -> int:
        """How much of the journals is not in the table yet."""
        with system_session(self._database) as session:
            return sum(_size(path) - repository.read_position(session, path.name) for path in self._journals())

    def _read(self, session: Session, path: Path) -> bool:
        """Read a batch of a journal; whether that was the rest of it."""
        position = repository.read_position(session, path.name)
        try:
            with path.open("rb") as file:
                file.seek(position)
                lines = whole_lines(file.read(_BATCH_BYTES))
        except FileNotFoundError:
            return True  # another folder was done with it
        if not lines:
            return True
        strangers = repository.apply(session, path.name, position + len(lines), sum_lines(lines))
        if strangers:
            _LOG.error("the usage of %d projects that are not in the database was left out", strangers)
        return len(lines) < _BATCH_BYTES // 2

    def _journals(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{SUFFIX}"))

    def _abandoned(self) -> Iterator[Path]:
        return (path for path in self._journals() if _is_abandoned(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_abandoned(path: Path) -> bool:
    """Whether nobody writes it any more: its writer holds the lock as long as it lives."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
