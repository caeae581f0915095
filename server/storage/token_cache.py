"""What files tokenise to, kept until the file is deleted: `tokenized/<file id>/<key>/`, linked in and out.

It is no more than a cache: whoever takes something from it looks whether it is whole, and can do without.
"""

import math
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.ids import random_base62
from trainer.contract.tokens import TOKENS_VERSION, read_summary

_KEPT_OF_A_FILE = 4  # the newest; one for each tokenizer, template and policy that it was checked with
_STAGED = ".staged-"
_WRITING = threading.Lock()  # jobs are acted on by several threads of the one worker


class TokenCache:
    def __init__(self, root: Path, *, limit_bytes: float = math.inf) -> None:
        self._root = root
        self._limit_bytes = limit_bytes  # of all files together, kept by the sweep

    def offer(self, file_id: str, destination: Path) -> None:
        """Make `destination/<key>` of everything that is kept of a file; of nothing, nothing."""
        for kept in self._kept(file_id):
            try:
                link_directory(kept, destination / kept.name)
            except OSError:  # deleted meanwhile, or links do not reach there
                shutil.rmtree(destination / kept.name, ignore_errors=True)

    def keep(self, file_id: str, tokens: Path) -> None:
        """Keep what a check has made or found good; what stood under its key before gives way. Can be repeated."""
        summary = read_summary(tokens)
        if summary is None:
            return
        final = self._root / file_id / summary.key.name
        staged = self._root / f"{_STAGED}{random_base62(12)}"
        with _WRITING:
            try:
                if _are_same(tokens, final):
                    os.utime(final)  # the newest again
                    return
                self._root.mkdir(exist_ok=True)
                link_directory(tokens, staged)
                final.parent.mkdir(exist_ok=True)
                shutil.rmtree(final, ignore_errors=True)
                staged.rename(final)
                self._prune(file_id)
            except OSError:  # the job does not need it
                shutil.rmtree(staged, ignore_errors=True)

    def delete(self, file_id: str) -> None:
        """Forget a file. Idempotent; what was linked stays with whom it was linked to."""
        shutil.rmtree(self._root / file_id, ignore_errors=True)

    def sweep(self, is_known: Callable[[str], bool]) -> None:
        """Delete what a killed worker left half-done, what is kept of files that are gone, and what is too much."""
        with _WRITING:
            for path in _children(self._root):
                if path.name.startswith(_STAGED) or not is_known(path.name):
                    shutil.rmtree(path, ignore_errors=True)
            self._shrink()

    def _shrink(self) -> None:
        """Let go what was used least recently. Of what a job is using nothing is: it would make no room."""
        kept = [_look_at(path) for file in _children(self._root) for path in _children(file)]
        too_much = sum(each.size_bytes for each in kept) - self._limit_bytes
        for each in sorted(kept, key=lambda each: each.used_at):
            if too_much > 0 and not each.is_in_use:
                shutil.rmtree(each.path, ignore_errors=True)
                too_much -= each.size_bytes

    def _prune(self, file_id: str) -> None:
        kept = [(path.stat().st_mtime, path) for path in self._kept(file_id)]
        newest = [path for _, path in sorted(kept, reverse=True)[:_KEPT_OF_A_FILE]]
        for _, path in kept:
            summary = read_summary(path)
            if path not in newest or summary is None or summary.key.version != TOKENS_VERSION:
                shutil.rmtree(path, ignore_errors=True)

    def _kept(self, file_id: str) -> list[Path]:
        return _children(self._root / file_id)


@dataclass(frozen=True)
class _Kept:
    path: Path
    used_at: float  # when it was kept, or found good again
    size_bytes: int
    is_in_use: bool  # a run directory has links to it


def _look_at(path: Path) -> _Kept:
    """What cannot be looked at is gone, or going."""
    try:
        files = [file.stat() for file in _children(path)]
        used_at = path.stat().st_mtime
    except OSError:
        return _Kept(path, 0.0, 0, is_in_use=False)
    in_use = any(file.st_nlink > 1 for file in files)
    return _Kept(path, used_at, sum(file.st_size for file in files), in_use)


def link_directory(source: Path, destination: Path) -> None:
    """Make a directory of links to the files of another one."""
    destination.mkdir(parents=True)
    for path in _children(source):
        (destination / path.name).hardlink_to(path)


def _are_same(first: Path, second: Path) -> bool:
    """Whether two directories hold the very same files, by links."""
    names = {path.name for path in _children(first)}
    try:
        return names == set(os.listdir(second)) and all((first / name).samefile(second / name) for name in names)
    except OSError:
        return False


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
