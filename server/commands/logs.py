"""What a job's trainer wrote, and goes on writing."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine

from server.commands.failures import CommandFailed
from server.commands.repository import find_job
from server.vocabulary import TERMINAL_STATUSES
from trainer.contract.run_directory import RunDirectory


def print_logs(database: Engine, runs: Path, job_id: str, *, follow: bool, pause: Callable[[], None]) -> None:
    """Copy the newest attempt's log to stdout; before the first attempt, that of the check of the job's files.

    With `follow` go on until the job ends, over its attempts; `pause` is called before each next look.

    Raises:
        CommandFailed: there is none.
    """
    sys.stdout.flush()
    path = newest_log(runs)
    if path is None and not (follow and not _has_ended(database, job_id)):
        raise CommandFailed(f"the job {job_id} has no log: it has not begun, or its run directory is gone")
    position = _copy(path, 0, sys.stdout.buffer)
    while follow:
        ended = _has_ended(database, job_id)  # before the look, so that none of the last lines is missed
        newest = newest_log(runs)
        if newest != path:
            _copy(path, position, sys.stdout.buffer)  # what is left of the one, then the other
            path, position = newest, 0
        position = _copy(path, position, sys.stdout.buffer)
        if ended:
            return
        pause()


def newest_log(runs: Path) -> Path | None:
    """The log of the highest attempt that has one, of a job's directory under `runs/`; else that of its check."""
    attempts = sorted((int(path.name) for path in runs.glob("*") if path.name.isdecimal()), reverse=True)
    logs = (RunDirectory(runs / name).log for name in (*map(str, attempts), "check"))
    return next((log for log in logs if log.is_file()), None)


def _copy(path: Path | None, position: int, out: BinaryIO) -> int:
    """Copy from a position to the end of the file as it is; give the position reached."""
    if path is None:
        return position
    try:
        with path.open("rb") as log:
            log.seek(position)
            shutil.copyfileobj(log, out)
            out.flush()
            return log.tell()
    except FileNotFoundError:  # tidied up meanwhile
        return position


def _has_ended(database: Engine, job_id: str) -> bool:
    job = find_job(database, job_id)
    return job is None or job.status in TERMINAL_STATUSES
