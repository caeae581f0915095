"""Copies files: first the bytes into the blob store, then the row that makes them visible. Both under OpenAI's id."""

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from server.db.project_session import project_session
from server.db.tables import FileRow
from server.ids import ProjectId
from server.importing import repository
from server.importing.archive import Archive
from server.importing.base64_text import plain_text
from server.importing.errors import ObjectFailed, Refused
from server.importing.objects import Json, SourceFile, describe, shown_id
from server.importing.reader import AccountReader, segment
from server.importing.report import Section
from server.storage.blob_store import BlobInfo, BlobKey, BlobStore
from server.vocabulary import FilePurpose

_PAGE = 1000


@dataclass
class FileImport:
    database: Engine
    blobs: BlobStore
    project_id: ProjectId
    reader: AccountReader
    section: Section
    left_behind: Archive  # what OpenAI tells of files whose bytes it does not give

    def copy_all(self) -> None:
        """Oldest first. Raises: Refused: the list itself; ImportFailed."""
        with project_session(self.database, self.project_id) as session:
            self._known = repository.list_file_ids(session)
        for told in self.reader.pages("/files", limit=_PAGE, order="asc"):
            self._copy_safely(told)

    def copy_unlisted(self, file_id: str) -> None:
        """A file that a job names, if it is there and not copied yet."""
        if file_id in self._known:
            return
        try:
            told = self.reader.get(f"/files/{segment(file_id)}")
        except Refused:
            return  # it was deleted there, as a job's files may be
        self._copy_safely(told)

    def _copy_safely(self, told: Json) -> None:
        name = shown_id(told)
        try:
            self._copy(told)
        except ObjectFailed as error:
            self.section.add_failed(name, str(error))
        except Refused as refused:
            self._leave_behind(told, name, refused)
        self._known.add(name)

    def _copy(self, told: Json) -> None:
        source = describe(SourceFile, told)
        if source.id in self._known:
            self.section.add_present()
            return
        if repository.owner_of(self.database, FileRow, source.id) is not None:
            raise ObjectFailed("another project of this home has a file of this id; import into that project")
        if source.expires_at is not None and source.expires_at <= time.time():
            self.section.add_not_copied(source.id, "it has expired")
        elif source.purpose not in list(FilePurpose):
            self._record(told, source.id, "its purpose is none that files have here")
        else:
            blob = self._download(source)
            self._make_visible(source, blob)
            self.section.add(blob.size_bytes)

    def _download(self, source: SourceFile) -> BlobInfo:
        is_result = source.purpose == FilePurpose.FINE_TUNE_RESULTS
        return self.reader.download(
            f"/files/{segment(source.id)}/content",
            lambda chunks: self.blobs.put(BlobKey(source.id), plain_text(chunks) if is_result else chunks),
        )

    def _make_visible(self, source: SourceFile, blob: BlobInfo) -> None:
        with project_session(self.database, self.project_id, write=True) as session:
            session.add(
                FileRow(
                    id=source.id,
                    project_id=self.project_id,
                    seq=repository.place_in_history(session, FileRow, source.created_at),
                    filename=source.filename,
                    purpose=FilePurpose(source.purpose),
                    bytes=blob.size_bytes,
                    sha256=blob.sha256,
                    created_at=source.created_at,
                    expires_at=source.expires_at,
                )
            )

    def _leave_behind(self, told: Json, name: str, refused: Refused) -> None:
        """Files of some purposes are not given out, others are gone; a fault of the server is a failure."""
        if refused.status in (400, 403, 404, 410):
            self._record(told, name, refused.message.replace(name, "the file"))
        else:
            self.section.add_failed(name, str(refused))

    def _record(self, told: Json, name: str, reason: str) -> None:
        self.section.add_not_copied(name, reason)
        self.left_behind.add(told, {"not_copied_because": reason})
