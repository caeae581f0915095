"""sha256 of files that are large and seldom change: computed once, and again when size or time of change differ."""

import hashlib
import json
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from server.ids import random_base62

_LOCK = threading.Lock()  # one thread of this process writes at a time


class FileHashes:
    """Remembers the hashes in a JSON file. Several processes may use it; what one of them forgets is hashed again."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def sha256(self, path: Path) -> str:
        """Raises: OSError: the file cannot be read."""
        path = path.resolve()
        status = path.stat()
        known = self._read().get(str(path))
        seen = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        if isinstance(known, dict) and seen.items() <= known.items() and isinstance(known.get("sha256"), str):
            return str(known["sha256"])
        digest = sha256(path)
        with _LOCK:
            self._write(self._read() | {str(path): {**seen, "sha256": digest}})
        return digest

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._memory.read_bytes())
        except (OSError, ValueError):
            return {}  # it only saves time
        return found if isinstance(found, dict) else {}

    def _write(self, hashes: dict[str, Any]) -> None:
        self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._memory.with_name(f"{self._memory.name}.{random_base62(8)}.tmp")
        try:
            temporary.write_text(json.dumps(hashes, indent=1) + "\n")
            temporary.replace(self._memory)
        finally:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The file's hash, hexadecimal; remembered while this process lives and the file stays as it is."""
    status = os.stat(path)
    return _sha256(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=128)
def _sha256(path: str, _size: int, _mtime_ns: int, _inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
