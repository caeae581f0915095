"""/v1/files"""

import dataclasses
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from server.auth.dependencies import ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Conflict, InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge, responses
from server.files import service
from server.files.receiving import receive_body
from server.files.schemas import DeleteFileResponse, ListFilesResponse, OpenAIFile
from server.files.upload import UploadForm, UploadRequest, too_large
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep, UnkeyedOnceDep
from server.idempotency.once import Answer, Once
from server.ids import FileId, new_file_id
from server.pagination import AfterQuery, LimitQuery
from server.storage.blob_store import BlobInfo, BlobKey, BlobStore, BlobStoreFull
from server.storage.token_cache import TokenCache

router = APIRouter(prefix="/v1/files", tags=["Files"])

_FORM_OVERHEAD_BYTES = 128 * 1024
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["fine-tune", "assistants", "batch", "vision", "user_data", "evals"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}


@router.post(
    "",
    operation_id="createFile",
    response_model=OpenAIFile,
    responses=responses(InvalidRequest, Conflict, PayloadTooLarge, InsufficientStorage),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def create_file(request: Request, once: OnceDep) -> Response:
    """Upload a file. Its content is looked at when a job uses it, not here."""
    state = request.app.state
    max_file_bytes = state.settings.max_file_bytes
    if int(request.headers.get("content-length", 0)) > max_file_bytes + _FORM_OVERHEAD_BYTES:
        raise too_large(max_file_bytes)

    blobs: BlobStore = state.blobs
    file_id = new_file_id()
    try:
        with once.alone(), blobs.writer(BlobKey(file_id)) as writer:
            form = UploadForm(
                request.headers.get("content-type", ""), max_file_bytes=max_file_bytes, write_file=writer.write
            )
            await receive_body(request, form.feed)
            asked = form.finish()
            blob = await run_in_threadpool(writer.commit)
            answer = await run_in_threadpool(_make_visible, once, blobs, file_id, asked, blob)
    except BlobStoreFull as error:
        raise InsufficientStorage("The server has no space left for this file; nothing of it was kept.") from error
    return answer.render()


@router.get("", operation_id="listFiles", responses=responses(InvalidRequest))
def list_files(
    db: ProjectDb,
    after: AfterQuery = None,
    limit: LimitQuery = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> ListFilesResponse:
    """List the project's files by their time of creation."""
    with db.read() as session:
        page = service.list_files(session, after=after, limit=limit, ascending=order == "asc", purpose=purpose)
    files = [OpenAIFile.from_row(row) for row in page.rows]
    return ListFilesResponse(
        data=files,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        has_more=page.has_more,
    )


@router.get("/{file_id}", operation_id="retrieveFile", responses=responses(NotFound))
def retrieve_file(file_id: str, db: ProjectDb) -> OpenAIFile:
    """Describe a file."""
    with db.read() as session:
        return OpenAIFile.from_row(service.retrieve_file(session, file_id))


@router.delete(
    "/{file_id}", operation_id="deleteFile", response_model=DeleteFileResponse, responses=responses(NotFound)
)
def delete_file(file_id: str, request: Request, once: UnkeyedOnceDep) -> Response:
    """Delete a file. Jobs that are using it go on with their own copy."""

    def delete(session: ProjectSession) -> DeleteFileResponse:
        service.delete_file(session, file_id)
        return DeleteFileResponse(id=file_id)

    def find(_session: ProjectSession, deleted_id: str) -> DeleteFileResponse:
        return DeleteFileResponse(id=deleted_id)

    answer = once.act(Asked("deleteFile", {"file_id": file_id}), do=delete, find=find)
    request.app.state.blobs.delete(BlobKey(file_id))
    TokenCache(request.app.state.settings.tokenized).delete(file_id)
    return answer.render()


@router.get(
    "/{file_id}/content",
    operation_id="downloadFile",
    response_class=StreamingResponse,
    responses=responses(InvalidRequest, NotFound)
    | {200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_file(file_id: str, request: Request, db: ProjectDb) -> StreamingResponse:
    """Give the bytes of a file, as they were uploaded."""
    with db.read() as session:
        row, chunks = service.open_content(session, request.app.state.blobs, file_id)
    return StreamingResponse(
        chunks,
        media_type="application/octet-stream",
        headers={"content-length": str(row.bytes), "content-disposition": _attachment(row.filename)},
    )


def _make_visible(once: Once, blobs: BlobStore, file_id: FileId, asked: UploadRequest, blob: BlobInfo) -> Answer:
    """Give the blob its file, or delete it: a retry's content is there already."""

    def make(session: ProjectSession) -> OpenAIFile:
        return OpenAIFile.from_row(service.create_file(session, file_id, asked, blob))

    def find(session: ProjectSession, first_id: str) -> OpenAIFile | None:
        row = service.find_file(session, first_id)
        return None if row is None else OpenAIFile.from_row(row)

    content = dataclasses.asdict(asked) | dataclasses.asdict(blob)
    is_new = False
    try:
        answer = once.create(Asked("createFile", content), make=make, find=find)
        is_new = answer.is_new
    finally:
        if not is_new:
            blobs.delete(BlobKey(file_id))
    return answer


def _attachment(filename: str) -> str:
    """RFC 6266: a plain form for every client, and the exact one where it has other characters."""
    plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\%' else "_" for c in filename)
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
