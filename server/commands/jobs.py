"""`tunesmith jobs`."""

import sys
import time
from argparse import Namespace

from sqlalchemy import Engine

from server.commands import repository
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.commands.logs import print_logs
from server.commands.table import local_time, table
from server.commands.watching import watch
from server.db.project_session import project_session
from server.db.tables import JobRow
from server.fine_tuning.service import cancel_job
from server.ids import ProjectId
from server.settings import Settings
from server.vocabulary import JobStatus

_POLL_S = 0.5


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed, ApiError."""
    with opened(settings) as database:
        if asked.action == "list":
            _list(database)
            return 0
        job = repository.find_job(database, asked.job_id)
        if job is None:
            raise CommandFailed(f"there is no job {asked.job_id}; `tunesmith jobs list` shows those there are")
        match asked.action:
            case "watch":
                ended = watch(database, job.id, sys.stdout, pause=_pause)
                return 0 if ended is JobStatus.SUCCEEDED else 1
            case "cancel":
                _cancel(database, job)
            case _:
                print_logs(database, settings.runs / job.id, job.id, follow=asked.follow, pause=_pause)
    return 0


def _list(database: Engine) -> None:
    rows = [
        (
            listing.job.id,
            listing.project,
            listing.job.status,
            "" if listing.job.total_steps is None else f"{listing.job.last_step}/{listing.job.total_steps}",
            local_time(listing.job.created_at),
            listing.job.requested_model,
            listing.job.fine_tuned_model or listing.job.error_code or "",
        )
        for listing in repository.list_jobs(database)
    ]
    print(table(("ID", "PROJECT", "STATUS", "STEPS", "CREATED", "MODEL", "RESULT"), rows))


def _cancel(database: Engine, job: JobRow) -> None:
    """As a client of the job's project would."""
    with project_session(database, ProjectId(job.project_id), write=True) as session:
        cancel_job(session, job.id)
    print(f"{job.id} is cancelled")


def _pause() -> None:
    time.sleep(_POLL_S)
