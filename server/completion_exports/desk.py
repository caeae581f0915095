"""Makes training files of stored completions: gathered in a directory of the request's own, screened by the trainer."""

import errno
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from server.auth.dependencies import ProjectDatabase
from server.completion_exports.examples import LeftOut, examples_of
from server.completion_exports.schemas import CreateCompletionExportRequest, ExportFilter
from server.db.tables import StoredCompletionRow
from server.errors import Busy, InsufficientStorage, InvalidRequest
from server.files.upload import too_large
from server.ids import random_base62
from server.launchers.launcher import Launcher, LaunchRequest, Running
from server.name_locks import HeldName, NameLocks
from server.stored_completions import repository
from server.stored_completions.completion import labels_of
from server.stored_completions.repository import Position, Wanted
from server.stored_completions.service import count_fitting
from trainer.contract.run_directory import RunDirectory
from trainer.contract.screen import ScreenReport, ScreenSpec

MOST_COMPLETIONS = 100_000  # in one file
_AT_ONCE = 2  # each of another project
_ROWS_AT_ONCE = 200
_BYTES_AT_ONCE = 8 * 1024**2
_TIME_LIMIT_S = 540.0  # less than what the official client waits
_POLL_S = 0.05


@dataclass
class Gathered:
    """What was found, and what became of it."""

    n_completions: int = 0
    n_examples: int = 0
    n_bytes: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)


@dataclass(frozen=True)
class ExportDesk:
    """Makes a few at once; who comes while it is busy is asked to come again."""

    launcher: Launcher
    root: Path  # of the directories
    locks: NameLocks  # by which all processes together make no more at once
    max_file_bytes: int
    time_limit_s: float = _TIME_LIMIT_S

    @contextmanager
    def directory(self, project_id: str) -> Iterator[RunDirectory]:
        """Hold a turn and an empty directory, which is gone afterwards.

        Raises:
            Busy: the project is exporting already, or enough others are.
        """
        with (
            _or_busy(self.locks.take("export of project", project_id)),
            _or_busy(self.locks.take_one(_AT_ONCE, "export")),
        ):
            root = self.root / random_base62(16)
            with _hold(self.locks, root) or nullcontext():  # nobody holds a name that was just drawn
                root.mkdir(parents=True, mode=0o700)
                try:
                    yield RunDirectory(root)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    raise InsufficientStorage("The server has no space left; no file was made.") from error
                finally:
                    shutil.rmtree(root, ignore_errors=True)

    def gather(self, db: ProjectDatabase, asked: CreateCompletionExportRequest, run: RunDirectory) -> Gathered:
        """Write the lines. Memory does not grow with them, but for sixteen bytes of each that must not come again.

        Raises:
            InvalidRequest: there are too many completions, or no line is left.
            PayloadTooLarge: the file would be larger than one that is uploaded may be.
        """
        gathered, seen = Gathered(), set[bytes]()
        with run.training_file.open("wb") as file:
            for row in _rows(db, _wanted(asked.filter)):
                gathered.n_completions += 1
                if gathered.n_completions > MOST_COMPLETIONS:
                    raise _too_many()
                for line in _lines(row, asked):
                    if not isinstance(line, LeftOut) and asked.dedupe and _is_known(line, seen):
                        line = LeftOut.DUPLICATE
                    if isinstance(line, LeftOut):
                        gathered.left_out[line] += 1
                        continue
                    gathered.n_bytes += file.write(line + b"\n")
                    gathered.n_examples += 1
                    if gathered.n_bytes > self.max_file_bytes:
                        raise too_large(self.max_file_bytes)
        if gathered.n_examples == 0:
            raise _nothing_left(gathered)
        return gathered

    def screen(self, run: RunDirectory, *, redacts: bool) -> ScreenReport:
        """Have the trainer look through the lines, and write them without what it finds if it `redacts`.

        Raises:
            Busy: it took too long, or ended without a word.
        """
        run.write_screen_spec(ScreenSpec(redacts=redacts))
        deadline = time.monotonic() + self.time_limit_s
        handle = self.launcher.launch(LaunchRequest(run.root, "screen"))
        try:
            while isinstance(self.launcher.poll(handle), Running):
                if time.monotonic() > deadline:
                    raise Busy("The examples could not be looked through in time. Try again later, or export fewer.")
                time.sleep(_POLL_S)
        finally:
            self.launcher.stop(handle, 0.0)
        outcome = run.read_screen_outcome()
        if outcome is None or outcome.report is None:
            raise Busy("The examples could not be looked through: the process ended without a report. Try again later.")
        return outcome.report


def delete_leftovers(root: Path, locks: NameLocks) -> None:
    """Delete what exports left whose process was killed."""
    for directory in root.iterdir() if root.exists() else ():
        if (held := _hold(locks, directory)) is not None:
            with held:
                shutil.rmtree(directory, ignore_errors=True)


def _rows(db: ProjectDatabase, wanted: Wanted) -> Iterator[StoredCompletionRow]:
    """A few at a time, each time in a transaction of their own: no writer waits, and nothing is read twice."""
    beyond: Position | None = None
    while True:
        with db.read() as session:
            sized = repository.list_sized(session, wanted, beyond=beyond, limit=_ROWS_AT_ONCE, ascending=True)
            sized = sized[: count_fitting([one.size_bytes for one in sized], _BYTES_AT_ONCE)]
            rows = repository.get_completions(session, [one.seq for one in sized], with_messages=True)
        if not sized:
            return
        yield from rows
        beyond = Position(sized[-1].created_at, sized[-1].seq)


def _wanted(asked: ExportFilter) -> Wanted:
    return Wanted(
        labels=labels_of(asked.model, asked.metadata or {}),
        created_from=asked.created_after,
        created_before=asked.created_before,
        ids=asked.ids,
    )


def _lines(row: StoredCompletionRow, asked: CreateCompletionExportRequest) -> Iterator[bytes | LeftOut]:
    return examples_of(
        orjson.loads(row.shown),
        orjson.loads(row.messages),
        finish_reasons=asked.filter.finish_reasons,
        all_choices=asked.choices == "all",
    )


def _is_known(line: bytes, seen: set[bytes]) -> bool:
    digest = hashlib.sha256(line).digest()[:16]
    n_seen = len(seen)
    seen.add(digest)
    return len(seen) == n_seen


def _too_many() -> InvalidRequest:
    return InvalidRequest(
        f"The filter finds more than {MOST_COMPLETIONS} completions, which is the most for one file. Narrow it, by "
        "'created_after' and 'created_before' for example.",
        param="filter",
        code="too_many_completions",
    )


def _nothing_left(gathered: Gathered) -> InvalidRequest:
    counts = ", ".join(f"{reason} {n}" for reason, n in sorted(gathered.left_out.items()))
    because = f"; left out were: {counts}" if counts else ""
    return InvalidRequest(
        f"There is nothing to make a file of: the filter finds {gathered.n_completions} completions{because}.",
        param="filter",
        code="nothing_to_export",
    )


def _hold(locks: NameLocks, directory: Path) -> HeldName | None:
    return locks.take("directory of an export", directory.name)


def _or_busy(held: HeldName | None) -> HeldName:
    if held is None:
        raise Busy("As many exports as are made at once are being made. Ask again in a moment.")
    return held
