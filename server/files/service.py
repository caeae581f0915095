"""What clients may do with files."""

import time
from collections.abc import Iterator

from sqlmodel import Session

from server.db.project_session import ProjectSession
from server.db.tables import FileRow
from server.errors import InvalidRequest, NotFound
from server.files import repository
from server.files.expiry import expires_at
from server.files.upload import UploadRequest
from server.ids import FileId
from server.pagination import Page, build_page, unknown_cursor
from server.storage.blob_store import BlobInfo, BlobKey, BlobMissing, BlobStore
from server.vocabulary import FilePurpose

_NOT_DOWNLOADABLE = (FilePurpose.ASSISTANTS, FilePurpose.USER_DATA, FilePurpose.VISION)


def create_file(session: ProjectSession, file_id: FileId, request: UploadRequest, blob: BlobInfo) -> FileRow:
    """Make a file of a blob that is complete."""
    created_at = int(time.time())
    row = FileRow(
        id=file_id,
        project_id=session.project_id,
        filename=request.filename,
        purpose=request.purpose,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=created_at,
        expires_at=expires_at(request.purpose, request.expires_after, created_at=created_at),
    )
    session.add(row)
    return row


def list_files(
    session: ProjectSession, *, after: str | None, limit: int, ascending: bool, purpose: str | None
) -> Page[FileRow]:
    """Raises: InvalidRequest: `after` is no file of the project."""
    now = time.time()
    after_seq = None
    if after is not None:
        cursor = repository.find_file(session, after, now=now)
        if cursor is None:
            raise unknown_cursor(after)
        after_seq = cursor.seq
    rows = repository.list_files(
        session, after_seq=after_seq, limit=limit + 1, ascending=ascending, purpose=purpose, now=now
    )
    return build_page(rows, limit)


def find_file(session: Session, file_id: str) -> FileRow | None:
    return repository.find_file(session, file_id, now=time.time())


def retrieve_file(session: Session, file_id: str) -> FileRow:
    """Raises: NotFound."""
    row = find_file(session, file_id)
    if row is None:
        raise NotFound(f"No such File object: {file_id}", param="id")
    return row


def delete_file(session: ProjectSession, file_id: str) -> None:
    """Forget the file; its blob is to be deleted once this is committed. A running job keeps its own copy.

    Raises:
        NotFound: there is no such file.
    """
    session.delete(retrieve_file(session, file_id))


def open_content(session: ProjectSession, blobs: BlobStore, file_id: str) -> tuple[FileRow, Iterator[bytes]]:
    """Give the file and its bytes.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: files of this purpose are not given out.
    """
    row = retrieve_file(session, file_id)
    if row.purpose in _NOT_DOWNLOADABLE:
        raise InvalidRequest(f"Not allowed to download files of purpose: {row.purpose}")
    try:
        return row, blobs.open(BlobKey(row.id))
    except BlobMissing as error:  # deleted since the row was read
        raise NotFound(f"No such File object: {file_id}", param="id") from error
