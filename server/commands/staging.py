"""Where a result is made before it gets its name: beside it, so that a rename makes it visible whole."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.commands.failures import CommandFailed


@contextmanager
def staged_beside(output: Path) -> Iterator[Path]:
    """Give an empty directory for the work on `output`; it is gone afterwards.

    What a kill leaves of it is hidden, and cleared by the next work on the same output.

    Raises:
        CommandFailed: there is something of that name, no directory to put it in, or somebody else at work on it.
    """
    require_free(output)
    if not output.parent.is_dir():
        raise CommandFailed(f"there is no directory {output.parent}; make it, or name another place with --output")
    work = output.with_name(f".{output.name}.exporting")
    work.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(f"another export to {output} is going on; wait for it, or name another place") from None
        try:
            _clear(work)
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(descriptor)


def require_free(output: Path) -> None:
    """Raises: CommandFailed: there is something of that name."""
    if os.path.lexists(output):
        raise CommandFailed(f"{output} is there already, and nothing is overwritten; name another place with --output")


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
