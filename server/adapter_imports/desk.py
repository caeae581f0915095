"""Where adapters that are being imported lie: each in a directory of its own, whose name is its import's id."""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.ids import new_model_import_id
from server.name_locks import HeldName, NameLocks

_LOCK = "directory of an import"


@dataclass
class ImportDirectory:
    root: Path
    is_kept: bool = False  # there is a row of this name: it is the importer's from now on

    @property
    def import_id(self) -> str:
        return self.root.name

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def sent(self) -> Path:
        """The two files as they came; nothing loads them."""
        return self.root / "sent"

    @property
    def adapter(self) -> Path:
        """Made anew of those."""
        return self.root / "adapter"

    @property
    def examination(self) -> Path:
        """The trainer's run directory."""
        return self.root / "examination"


@dataclass(frozen=True)
class ImportDesk:
    root: Path
    locks: NameLocks

    @contextmanager
    def new_directory(self) -> Iterator[ImportDirectory]:
        """Deleted at the end unless it is kept. What a kill leaves is deleted by the next sweep: its lock is free."""
        root = self.root / new_model_import_id()
        held = self._hold(root)
        try:
            root.mkdir(parents=True, mode=0o700)
            directory = ImportDirectory(root)
            try:
                yield directory
            finally:
                if not directory.is_kept:
                    shutil.rmtree(root, ignore_errors=True)
        finally:
            if held is not None:
                held.release()

    def sweep(self, list_known: Callable[[], Collection[str]]) -> None:
        """Delete the directories of no unfinished import. `list_known` is asked when nobody can add to it any more."""
        for directory in self.root.iterdir() if self.root.exists() else ():
            if (held := self._hold(directory)) is not None:
                with held:
                    if directory.name not in list_known():
                        shutil.rmtree(directory, ignore_errors=True)

    def _hold(self, directory: Path) -> HeldName | None:
        return self.locks.take(_LOCK, directory.name)
