"""The salts of the projects' prefix caches."""

import stat
import threading
from pathlib import Path

from server.relay.cache_salt import CacheSalts, load_salt_key


def test_a_project_keeps_its_salt_and_no_two_share_one() -> None:
    salts = CacheSalts(b"key")
    assert salts.of("a") == salts.of("a") == CacheSalts(b"key").of("a")
    assert len({salts.of("a"), salts.of("b"), CacheSalts(b"another").of("a")}) == 3
    assert salts.of("a").startswith("s1:")
    assert len(salts.of("a")) == 67


def test_the_key_of_a_home_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path, keys = tmp_path / "salt.key", []
    threads = [threading.Thread(target=lambda: keys.append(load_salt_key(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) == {path.read_bytes()}
    assert len(keys[0]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
