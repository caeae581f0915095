"""The directory in which all API processes of a home count for Prometheus; it needs no library, as `serve` does not."""

import os
from pathlib import Path

SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported


def empty_directory(directory: Path) -> Path:
    """Make the directory, without what an earlier service counted: counters begin at 0 with a service."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in directory.glob("*.db"):
        path.unlink(missing_ok=True)
    return directory


def forget_the_dead(directory: Path) -> None:
    """Delete what killed processes had under way. What they counted goes on being counted."""
    for path in directory.glob("gauge_live*.db"):
        if not Path(f"/proc/{path.stem.rsplit('_', 1)[1]}").exists():
            path.unlink(missing_ok=True)


def shared_directory() -> Path | None:
    """None: this process counts for itself."""
    named = os.environ.get(SHARED_VARIABLE)
    return Path(named) if named else None
