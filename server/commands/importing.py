"""`tunesmith import openai`."""

import os
import sys
from argparse import Namespace
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from server.base_models import load_base_models
from server.bootstrap import build_blobs
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.ids import ProjectId
from server.importing.account import read_account
from server.importing.account_import import AccountImport, import_lock
from server.importing.errors import ImportFailed
from server.importing.reader import AccountReader
from server.importing.report import Report
from server.importing.repository import find_project
from server.importing.rerun import Rerun
from server.importing.successor_table import read_table
from server.settings import Settings
from server.storage.blob_store import BlobStoreFull


def run(asked: Namespace, settings: Settings) -> int:
    """0 if nothing failed. Raises: CommandFailed."""
    if asked.offline and asked.rerun is None:
        raise CommandFailed("--offline copies nothing; say with --rerun what to do instead")
    try:
        with opened(settings) as database:
            project = find_project(database, asked.project)
            if project is None:
                raise CommandFailed(
                    f"there is no project {asked.project}; `tunesmith keys create --project` makes it, with a key"
                )
            directory = settings.imports / project.id
            with import_lock(directory):
                return _import(asked, settings, database, ProjectId(project.id), asked.archive or directory)
    except ImportFailed as error:
        raise CommandFailed(str(error)) from error
    except BlobStoreFull as error:
        raise CommandFailed(f"no space is left on the disk of {settings.home}; make room and try again") from error


def _import(asked: Namespace, settings: Settings, database: Engine, project_id: ProjectId, archives: Path) -> int:
    base_models = load_base_models(settings.base_models_file)
    table = None if asked.rerun is None else read_table(asked.rerun, base_models)  # before the long part
    report = Report(print, _show)
    if not asked.offline:
        with closing(AccountReader(read_account(os.environ))) as reader:
            account = AccountImport(database, build_blobs(settings), project_id, archives, settings, reader, report)
            account.copy_all()
    if table is not None:
        Rerun(database, base_models, project_id, table, report.section("jobs on local bases", "made")).repeat_all()
    _show("")
    report.summarise()
    if not asked.offline:
        print(f"archives: {archives}")
    return 1 if report.failed else 0


def _show(line: str) -> None:
    """Where the import is, for who looks on: one line that the next one takes the place of."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
