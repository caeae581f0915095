"""What keeps the projects' prefix caches apart in an engine: a salt of each project's own, which nobody can guess."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

_KEY_BYTES = 32
_MOST = 10_000  # salts that are kept; they can be made again


class CacheSalts:
    """Makes them of a key. `s1:` begins no adapter's name, which the engine hashes alike."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._made: dict[str, str] = {}

    def of(self, project_id: str) -> str:
        salt = self._made.get(project_id)
        if salt is None:
            if len(self._made) >= _MOST:
                self._made.clear()
            salt = "s1:" + hmac.new(self._key, project_id.encode(), hashlib.sha256).hexdigest()
            self._made[project_id] = salt
        return salt


def load_salt_key(path: Path) -> bytes:
    """Read the home's key; make it if it is not there. Every process of a home gets the same one."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # whole, or another process's
        draft.unlink()
    return path.read_bytes()
