"""What clients may do with uploads: announce a file, send its parts in any order, and put them together."""

import time
from dataclasses import dataclass

from server.db.project_session import ProjectSession
from server.db.tables import UploadPartRow, UploadRow
from server.errors import NotFound
from server.files import service as files
from server.files.expiry import ExpiresAfter
from server.files.upload import UploadRequest, label_of
from server.ids import FileId, new_upload_id
from server.storage.blob_store import BlobInfo, BlobKey
from server.uploads import repository
from server.uploads.rules import (
    LIFETIME_S,
    check_md5_form,
    check_parts,
    check_pending,
    check_room,
    check_size,
    ended,
    status_at,
)
from server.uploads.schemas import CompleteUploadRequest, CreateUploadRequest, Upload
from server.vocabulary import FilePurpose, UploadStatus

_COMPLETE = "complete"


def create_upload(session: ProjectSession, asked: CreateUploadRequest, *, max_upload_bytes: int) -> Upload:
    """Raises: InvalidRequest: more bytes are announced than an upload may have."""
    check_size(asked.bytes, max_upload_bytes=max_upload_bytes)
    now = time.time()
    row = UploadRow(
        id=new_upload_id(),
        project_id=session.project_id,
        filename=label_of(asked.filename),
        purpose=FilePurpose(asked.purpose),
        mime_type=asked.mime_type,
        bytes=asked.bytes,
        created_at=int(now),
        expires_at=int(now) + LIFETIME_S,
        file_expires_after_s=None if asked.expires_after is None else asked.expires_after.seconds,
    )
    session.add(row)
    return Upload.from_row(row, None, now=now)


def describe_upload(session: ProjectSession, upload_id: str) -> Upload:
    """Raises: NotFound."""
    row = _get_upload(session, upload_id)
    file = None if row.file_id is None else files.find_file(session, row.file_id)
    return Upload.from_row(row, file, now=time.time())


def find_unused_upload(session: ProjectSession, upload_id: str) -> Upload | None:
    """The upload, if it is as it was when it was created: to be given to a client that did not get the answer."""
    row = repository.find_upload(session, upload_id)
    now = time.time()
    if row is None or status_at(row, now) != UploadStatus.PENDING or repository.measure_parts(session, row.id)[0]:
        return None
    return Upload.from_row(row, None, now=now)


def check_open(session: ProjectSession, upload_id: str, *, more_bytes: int, max_upload_bytes: int) -> None:
    """Raises: NotFound; InvalidRequest: the upload takes no part, or none of this size."""
    check_pending(_get_upload(session, upload_id), "add a part to", now=time.time())
    n_parts, parts_bytes = repository.measure_parts(session, upload_id)
    check_room(n_parts + 1, parts_bytes + more_bytes, max_upload_bytes=max_upload_bytes)


def add_part(
    session: ProjectSession, upload_id: str, part_id: str, blob: BlobInfo, *, max_upload_bytes: int
) -> UploadPartRow:
    """Make a part of a blob that is complete. Raises: NotFound, InvalidRequest."""
    check_open(session, upload_id, more_bytes=blob.size_bytes, max_upload_bytes=max_upload_bytes)
    row = UploadPartRow(
        id=part_id,
        project_id=session.project_id,
        upload_id=upload_id,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=int(time.time()),
    )
    session.add(row)
    return row


def cancel_upload(session: ProjectSession, upload_id: str) -> list[str]:
    """End an upload; one that is cancelled or expired stays so. Gives the parts' ids, whose blobs go after the commit.

    Raises:
        NotFound.
        InvalidRequest: it is completed.
    """
    row = _get_upload(session, upload_id)
    status = status_at(row, time.time())
    if status == UploadStatus.COMPLETED:
        raise ended(upload_id, status, "cancel")
    row.status = UploadStatus.CANCELLED if status == UploadStatus.PENDING else status
    return repository.delete_parts(session, upload_id)


def find_parts_to_join(session: ProjectSession, upload_id: str, asked: CompleteUploadRequest) -> list[BlobKey] | None:
    """The blobs that make the file, in order; None if an earlier request has put the same parts together.

    Raises:
        NotFound.
        InvalidRequest: the upload has ended, or these are not the parts of what was announced.
    """
    row = _get_upload(session, upload_id)
    if _is_done(row, asked):
        return None
    check_pending(row, _COMPLETE, now=time.time())
    check_md5_form(asked.md5)
    sizes = {part.id: part.bytes for part in repository.list_parts(session, upload_id)}
    check_parts(asked.part_ids, sizes, announced_bytes=row.bytes)
    return [BlobKey(part_id) for part_id in asked.part_ids]


@dataclass(frozen=True)
class JoinedParts:
    """The blob that became of an upload's parts."""

    file_id: FileId  # which the file is to have
    blob: BlobInfo


def complete_upload(
    session: ProjectSession, upload_id: str, asked: CompleteUploadRequest, joined: JoinedParts | None
) -> list[str]:
    """Make the file and end the upload, unless that is done. Gives the parts' ids, whose blobs go after the commit.

    A completion that began in time may end later, as long as the parts are there.

    Raises:
        NotFound.
        InvalidRequest: the upload has ended otherwise meanwhile.
    """
    row = _get_upload(session, upload_id)
    if _is_done(row, asked):
        return []
    if joined is None or row.status != UploadStatus.PENDING:
        raise ended(upload_id, row.status, _COMPLETE)
    files.create_file(session, joined.file_id, _file_of(row), joined.blob)
    row.status = UploadStatus.COMPLETED
    row.file_id = joined.file_id
    row.part_ids = list(asked.part_ids)
    return repository.delete_parts(session, upload_id)


def _file_of(row: UploadRow) -> UploadRequest:
    expires_after = None if row.file_expires_after_s is None else ExpiresAfter(row.file_expires_after_s)
    return UploadRequest(row.filename, row.purpose, expires_after)


def _is_done(row: UploadRow, asked: CompleteUploadRequest) -> bool:
    return row.status == UploadStatus.COMPLETED and row.part_ids == asked.part_ids


def _get_upload(session: ProjectSession, upload_id: str) -> UploadRow:
    row = repository.find_upload(session, upload_id)
    if row is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    return row
