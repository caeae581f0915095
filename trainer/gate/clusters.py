"""Which signatures are alike: by bands of equal hashes, then compared; memory of some bytes a signature.

Two that agree in a share s of their places meet in one of 16 bands of 4 with probability 1 - (1 - s⁴)¹⁶:
0.988 at 0.7, 0.9998 at 0.85.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trainer.gate.signatures import EMPTY, N_HASHES

_BAND = 4  # hashes
_AT_ONCE = 16384  # signatures in memory
_MIX = np.uint64(0x9E3779B97F4A7C15)

Signed = npt.NDArray[np.uint32]  # one signature each; may lie on disk


def find_alike(*parts: Signed, threshold: float, release: Callable[[], None] = lambda: None) -> npt.NDArray[np.uint32]:
    """For each signature, the first that it is like, directly or over others of its kind; its own number if none is.

    With two parts, each is what is nearest to both: the signature of the two texts together.
    `release` is called whenever enough has been read of signatures that lie on disk.
    """
    n = len(parts[0])
    leader = np.arange(n, dtype=np.uint32)
    for start in range(0, N_HASHES, _BAND):
        keys = _band_keys(parts, start, release)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        keys = keys[order]
        is_first = np.ones(n, dtype=np.bool_)
        is_first[1:] = keys[1:] != keys[:-1]
        del keys
        firsts = order[is_first][np.cumsum(is_first, dtype=np.uint32) - 1]
        others, firsts = order[~is_first], firsts[~is_first]
        del order
        for at in range(0, len(others), _AT_ONCE):
            chunk = slice(at, at + _AT_ONCE)
            _join(leader, others[chunk], firsts[chunk], parts, threshold)
            release()
    return _settle(leader)


def join_groups(*labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Number the groups of what any of these joins: in each, equal labels are one group."""
    joined = np.arange(len(labels[0]), dtype=np.int64)
    members = [np.unique(label, return_inverse=True)[1] for label in labels]
    while True:
        before = joined
        for member in members:
            least = np.full(int(member.max(initial=-1)) + 1, len(joined), dtype=np.int64)
            np.minimum.at(least, member, joined)
            joined = least[member]
        if (joined == before).all():
            return joined.astype(np.uint32)


def _join(
    leader: npt.NDArray[np.uint32],
    other: npt.NDArray[np.uint32],
    first: npt.NDArray[np.uint32],
    parts: tuple[Signed, ...],
    threshold: float,
) -> None:
    """Let each `other` follow the first of its band, if the two are alike."""
    is_new = leader[other] > leader[first]
    other, first = other[is_new], first[is_new]
    theirs, its = _signatures(parts, other), _signatures(parts, first)
    is_like = ((theirs == its).mean(axis=1) >= threshold) & (its != EMPTY).any(axis=1)
    leader[other[is_like]] = leader[first[is_like]]


def _settle(leader: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    while True:
        further = leader[leader]
        if (further == leader).all():
            return leader
        leader = further


def _signatures(parts: tuple[Signed, ...], rows: npt.NDArray[np.uint32] | slice) -> Signed:
    signatures: Signed = np.asarray(parts[0][rows])
    for part in parts[1:]:
        signatures = np.minimum(signatures, part[rows])
    return signatures


def _band_keys(parts: tuple[Signed, ...], start: int, release: Callable[[], None]) -> npt.NDArray[np.uint64]:
    n = len(parts[0])
    keys = np.empty(n, dtype=np.uint64)
    for at in range(0, n, _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        band = _signatures(tuple(part[:, start : start + _BAND] for part in parts), rows)
        low, high = np.ascontiguousarray(band).view(np.uint64).T
        keys[rows] = (low * _MIX) ^ high
        release()
    return keys
