"""Files that are never changed, put at a second place without being copied where that can be."""

import errno
import shutil
from pathlib import Path


def put(source: Path, destination: Path) -> None:
    """Raises: FileNotFoundError: it is gone."""
    try:
        destination.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):  # another disk, or no links
            raise
        shutil.copyfile(source, destination)


def put_directory(source: Path, destination: Path) -> None:
    """Every file of a directory, into a new one. Raises: FileNotFoundError: it is gone."""
    destination.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        put(path, destination / path.name)
