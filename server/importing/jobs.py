"""Copies jobs that have ended, each with its events and checkpoints in one transaction: whole or not at all."""

from dataclasses import dataclass, field

from sqlalchemy import Engine

from server.db.project_session import project_session
from server.db.tables import CheckpointRow, JobEventRow, JobRow
from server.ids import ProjectId
from server.importing import repository
from server.importing.errors import ObjectFailed, Refused
from server.importing.objects import (
    Json,
    SourceJob,
    add_progress,
    checkpoint_row,
    describe,
    event_row,
    has_ended,
    job_row,
    named_files,
    shown_id,
)
from server.importing.reader import AccountReader, segment
from server.importing.report import Section

_PAGE = 100


@dataclass
class JobImport:
    database: Engine
    project_id: ProjectId
    reader: AccountReader
    section: Section
    file_ids: list[str] = field(default_factory=list)  # what the jobs name

    def copy_all(self) -> None:
        """Oldest first, though OpenAI lists the newest first. Raises: Refused: the list itself; ImportFailed."""
        told = list(self.reader.pages("/fine_tuning/jobs", limit=_PAGE))
        with project_session(self.database, self.project_id) as session:
            known = repository.list_job_ids(session)
        for job in reversed(told):
            try:
                self.file_ids += named_files(job)
                if job.get("id") in known:
                    self.section.add_present()
                else:
                    self._copy(job)
            except (ObjectFailed, Refused) as error:
                self.section.add_failed(shown_id(job), str(error))

    def _copy(self, told: Json) -> None:
        source = describe(SourceJob, told)
        if not has_ended(source.status):
            self.section.add_not_copied(
                source.id, f"it is {source.status[:40]}; import again when it has ended, or cancel it there"
            )
            return
        if repository.owner_of(self.database, JobRow, source.id) is not None:
            raise ObjectFailed("another project of this home has a job of this id; import into that project")
        job = job_row(self.project_id, told)
        self._save(job, *self._read_history(job))
        self.section.add()

    def _read_history(self, job: JobRow) -> tuple[list[JobEventRow], list[CheckpointRow]]:
        """The job's events, oldest first, and its checkpoints."""
        path = f"/fine_tuning/jobs/{segment(job.id)}"
        newest_first = [event_row(job, told) for told in self.reader.pages(f"{path}/events", limit=_PAGE)]
        events = list({row.id: row for row in reversed(newest_first)}.values())
        told_checkpoints = self.reader.pages(f"{path}/checkpoints", limit=_PAGE)
        checkpoints = list({row.step: row for row in (checkpoint_row(job, told) for told in told_checkpoints)}.values())
        if repository.taken_ids(self.database, [row.id for row in events], [row.id for row in checkpoints]):
            raise ObjectFailed("an event or a checkpoint of this home has the id of one of its own")
        add_progress(job, events)
        return events, checkpoints

    def _save(self, job: JobRow, events: list[JobEventRow], checkpoints: list[CheckpointRow]) -> None:
        with project_session(self.database, self.project_id, write=True) as session:
            job.seq = repository.place_in_history(session, JobRow, job.created_at)
            session.add_all([job, *events, *checkpoints])
