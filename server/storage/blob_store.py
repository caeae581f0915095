"""The port to where the bytes of files are kept."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NewType, Protocol

BlobKey = NewType("BlobKey", str)  # a file's id: letters, digits, `_` and `-`


@dataclass(frozen=True)
class BlobInfo:
    size_bytes: int
    sha256: str  # hexadecimal


class BlobStoreError(Exception):
    """The root of the port's errors."""


class BlobMissing(BlobStoreError):
    """There is no blob under this key."""


class BlobStoreFull(BlobStoreError):
    """No space is left; nothing of the blob was kept."""


class BlobWriter(Protocol):
    """A blob on its way in. Nobody sees it before `commit`."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Raises: BlobStoreFull."""
        ...

    def commit(self) -> BlobInfo:
        """Make the blob durable, then visible under its key. Raises: BlobStoreFull."""
        ...


class BlobStore(Protocol):
    """Keeps blobs: whole or not at all, never changed once written. Safe from several threads and processes."""

    def writer(self, key: BlobKey) -> AbstractContextManager[BlobWriter]:
        """Begin a blob; leaving the context without `commit` keeps nothing of it."""
        ...

    def put(self, key: BlobKey, chunks: Iterable[bytes]) -> BlobInfo:
        """Write a whole blob. Writing a key again replaces it at once. Raises: BlobStoreFull."""
        ...

    def open(self, key: BlobKey, *, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on, in chunks. Deleting the blob meanwhile does not disturb.

        Raises:
            BlobMissing: at the call, not at the first chunk.
        """
        ...

    def stage(self, key: BlobKey, destination: Path) -> None:
        """Make the bytes a local file (a link if local, a download if remote), in the place of what was there.

        Raises:
            BlobMissing: and the destination is as it was.
        """
        ...

    def delete(self, key: BlobKey) -> None:
        """Forget a blob. Idempotent; what was staged stays."""
        ...

    def sweep(self, *, before: float, is_known: Callable[[BlobKey], bool]) -> int:
        """Delete writes whose writer is gone, and unknown blobs last written before `before` (unix seconds).

        Returns how many were deleted.
        """
        ...
