"""A checkpoint directory: how it becomes complete, and how to tell that one is.

`manifest.json` is written last and holds the size and hash of every other file, so that a directory which a crash
left torn, or a disk has damaged, is never resumed from.
"""

import hashlib
import json
import os
from pathlib import Path

from trainer.contract.run_directory import sync_directory, write_atomically

MANIFEST = "manifest.json"
ADAPTER = "adapter"  # inside a checkpoint directory: the adapter as it is served, in those that clients may see
_PREFIX = "step_"


def publish_directory(staged: Path, final: Path) -> None:
    """Make every file of `staged` durable, then give it its final name.

    A reader, or a power cut, sees the whole directory or none. `final` must not exist.
    """
    for path in sorted(staged.rglob("*")):
        _sync(path)
    sync_directory(staged)
    staged.rename(final)
    sync_directory(final.parent)


def seal(directory: Path) -> None:
    """Write the manifest over what is in `directory`."""
    files = {
        str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    write_atomically(directory / MANIFEST, json.dumps({"files": files}, indent=2).encode() + b"\n")


def is_complete(directory: Path) -> bool:
    """Whether the manifest is there and every file is as it says. Reads all of them."""
    try:
        files = json.loads((directory / MANIFEST).read_bytes())["files"]
        return all(
            (directory / name).stat().st_size == file["bytes"] and _sha256(directory / name) == file["sha256"]
            for name, file in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def step_of(checkpoint: Path) -> int | None:
    """The step in the name of a checkpoint directory; None for other names (staged ones among them)."""
    digits = checkpoint.name.removeprefix(_PREFIX)
    return int(digits) if checkpoint.name.startswith(_PREFIX) and digits.isdecimal() else None


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """The checkpoint directories of a run by step, not verified; a missing directory has none."""
    found = [(step, path) for path in _children(checkpoints) if (step := step_of(path)) is not None]
    return [path for _, path in sorted(found)]


def find_newest_checkpoint(checkpoints: Path) -> Path | None:
    """The complete checkpoint of the highest step under a run's `checkpoints/`, to resume from."""
    return next((path for path in reversed(list_checkpoints(checkpoints)) if is_complete(path)), None)


def _children(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_directory(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
