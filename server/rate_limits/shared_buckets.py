"""The buckets of all API processes of a home, in a file that they map: one place of two numbers a project and base."""

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
FullAt = tuple[float, float]

_HEAD = 64  # the boot's id, 36 characters: times before it mean nothing to its clock
_PLACE = struct.Struct("=Qdd")  # whose it is, when its requests and its tokens will be full
_N_PLACES = 32_768
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BucketsFull(Exception):
    """There are more projects and bases than places."""


class SharedBuckets:
    """Each change is made alone, under the file's lock, which the kernel lets go of whoever dies with it.

    Times are of `time.monotonic`, which all processes of a machine share.
    """

    def __init__(self, path: Path, *, n_places: int = _N_PLACES) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._n_places = n_places
        self._places: dict[str, int] = {}  # where in the map, by key
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with _Alone(self._descriptor):
            os.ftruncate(self._descriptor, _HEAD + n_places * _PLACE.size)
            self._map = mmap.mmap(self._descriptor, 0)
            boot = _BOOT_ID.read_bytes().strip()[:_HEAD].ljust(_HEAD, b"\0")
            if self._map[:_HEAD] != boot:
                self._map[:] = boot + bytes(len(self._map) - _HEAD)

    def change(self, key: str, decide: Callable[[FullAt], tuple[FullAt, T]]) -> T:
        """Give what `decide` says, and keep the numbers that come with it; an exception keeps them as they were.

        Raises: BucketsFull.
        """
        place = self._places.get(key)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if place is None:
                place = self._places[key] = self._find(_name(key))
            owner, requests, tokens = _PLACE.unpack_from(self._map, place)
            (requests, tokens), answer = decide((requests, tokens))
            _PLACE.pack_into(self._map, place, owner, requests, tokens)
            return answer
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        self._map.close()
        os.close(self._descriptor)

    def _find(self, name: int) -> int:
        """The key's place, or the next free one after where it belongs, from now on its own."""
        for step in range(self._n_places):
            place = _HEAD + (name + step) % self._n_places * _PLACE.size
            owner = _PLACE.unpack_from(self._map, place)[0]
            if owner in (0, name):
                if owner == 0:
                    _PLACE.pack_into(self._map, place, name, 0.0, 0.0)
                return place
        raise BucketsFull


class _Alone:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _name(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") or 1
