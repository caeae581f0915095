"""JSON lines that can be added to after any kill: one object a line, each object once, in its newest form."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from server.importing.errors import ImportFailed

Json = dict[str, Any]
_ADDED = ("messages", "not_copied_because")  # fields of a line that are not the object's own


class Archive:
    """One file, for its owner alone. Use it as a context; one process at a time. Each object has an `id`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._digests: dict[str, bytes] = {}  # of the newest form, by id
        self._n_lines = 0

    def __enter__(self) -> "Archive":
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            file.truncate(self._read())
        except BaseException:
            file.close()
            raise
        file.seek(0, os.SEEK_END)
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        os.fsync(self._file.fileno())
        self._file.close()
        if self._n_lines > len(self._digests):
            self._drop_superseded()

    def holds(self, told: Json) -> bool:
        """Whether the object is there as it is told now."""
        return self._digests.get(told["id"]) == _digest(told)

    def add(self, told: Json, added: Json | None = None) -> None:
        """Write an object down, with what belongs to it; nothing, if it is there already in this form."""
        if self.holds(told):
            return
        self._write(_encode({**told, **(added or {})}))
        self._digests[told["id"]] = _digest(told)
        self._n_lines += 1

    def _write(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        while rest and self._file is not None:
            rest = rest[self._file.write(rest) :]

    def _read(self) -> int:
        """Take in what is there; the length of its whole lines. A kill may have cut the last one.

        Raises:
            ImportFailed: somebody else has written into it.
        """
        size_bytes = 0
        for line in _lines(self._path):
            self._n_lines += 1
            object_id, digest = self._parse(line)
            self._digests[object_id] = digest
            size_bytes += len(line)
        return size_bytes

    def _parse(self, line: bytes) -> tuple[str, bytes]:
        try:
            told = json.loads(line)
            return told["id"], _digest(told)
        except (ValueError, KeyError, TypeError) as error:
            raise ImportFailed(
                f"line {self._n_lines} of {self._path} is none of an archive; move the file away and import again"
            ) from error

    def _drop_superseded(self) -> None:
        """Write the file anew with the newest form of each object, in the place of the old one at once."""
        fresh = self._path.with_suffix(".tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            for line in _lines(self._path):
                object_id, digest = self._parse(line)
                if self._digests.get(object_id) == digest:
                    del self._digests[object_id]  # once
                    out.write(line)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._path)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _encode(told: Json) -> bytes:
    try:
        return json.dumps(told, ensure_ascii=False, allow_nan=True).encode()
    except UnicodeEncodeError:  # half a character, which JSON can name and UTF-8 cannot hold
        return json.dumps(told).encode()


def _digest(told: Json) -> bytes:
    """Of the object itself, whatever the order of its fields."""
    own = {name: value for name, value in told.items() if name not in _ADDED}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).digest()[:16]
