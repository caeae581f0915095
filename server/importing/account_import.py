"""Copies an account: files, jobs, and what has no place here as archives. One import into a project at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from server.ids import ProjectId
from server.importing.archive import Archive
from server.importing.completions import CompletionImport
from server.importing.errors import ImportFailed, Refused
from server.importing.files import FileImport
from server.importing.jobs import JobImport
from server.importing.reader import AccountReader
from server.importing.report import Report, Section
from server.importing.stored import StoredImport
from server.storage.blob_store import BlobStore
from server.stored_completions.bounds import Asked

FILES_LEFT_BEHIND = "files_left_behind"


@dataclass
class AccountImport:
    database: Engine
    blobs: BlobStore
    project_id: ProjectId
    archives: Path
    bounds: Asked  # of stored completions
    reader: AccountReader
    report: Report

    def copy_all(self) -> None:
        """Go on from wherever an earlier run ended. Raises: ImportFailed."""
        self.archives.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._archive(FILES_LEFT_BEHIND) as left_behind:
            self._copy_files_and_jobs(left_behind)
        section = self.report.section("stored completions in the project", "stored")
        completions = CompletionImport(self.database, self.project_id, self.bounds, section)
        stored = StoredImport(self.reader, self.report, self._archive, completions)
        stored.archive_completions()
        stored.archive_evals()

    def _copy_files_and_jobs(self, left_behind: Archive) -> None:
        file_section = self.report.section("files")
        files = FileImport(self.database, self.blobs, self.project_id, self.reader, file_section, left_behind)
        jobs = JobImport(self.database, self.project_id, self.reader, self.report.section("jobs"))
        with _a_refused_list_said(file_section):
            files.copy_all()
        with _a_refused_list_said(jobs.section):
            jobs.copy_all()
        for file_id in dict.fromkeys(jobs.file_ids):
            files.copy_unlisted(file_id)

    def _archive(self, name: str) -> Archive:
        return Archive(self.archives / f"{name}.jsonl")


@contextmanager
def import_lock(directory: Path) -> Iterator[None]:
    """Keep a second import away until this process is done, or dead. Raises: ImportFailed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ImportFailed("another import into this project is running; wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _a_refused_list_said(section: Section) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        section.add_failed("the list", str(refused))
