"""/v1/uploads"""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from server.auth.dependencies import ProjectDatabase, ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Conflict, InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge, responses
from server.files.form import LargeField, MultipartForm
from server.files.receiving import receive_body
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep
from server.idempotency.once import Answer, Once
from server.ids import new_part_id
from server.storage.blob_store import BlobInfo, BlobKey, BlobStore, BlobStoreFull
from server.uploads import service
from server.uploads.joining import Completion, Completions
from server.uploads.rules import MAX_PART_BYTES, part_too_large
from server.uploads.schemas import CompleteUploadRequest, CreateUploadRequest, Upload, UploadPart

router = APIRouter(prefix="/v1/uploads", tags=["Uploads"])

_FORM_OVERHEAD_BYTES = 128 * 1024
_FORM = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "format": "binary"}},
}


@router.post(
    "",
    operation_id="createUpload",
    response_model=Upload,
    responses=responses(InvalidRequest, Conflict, PayloadTooLarge),
)
def create_upload(body: CreateUploadRequest, request: Request, once: OnceDep) -> Response:
    """Announce a file that arrives in parts, within an hour."""
    max_upload_bytes = request.app.state.settings.max_upload_bytes

    def make(session: ProjectSession) -> Upload:
        return service.create_upload(session, body, max_upload_bytes=max_upload_bytes)

    def find(session: ProjectSession, upload_id: str) -> Upload | None:
        return service.find_unused_upload(session, upload_id)

    return once.create(Asked("createUpload", body), make=make, find=find).render()


@router.post(
    "/{upload_id}/parts",
    operation_id="addUploadPart",
    response_model=UploadPart,
    responses=responses(InvalidRequest, NotFound, Conflict, PayloadTooLarge, InsufficientStorage),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def add_upload_part(upload_id: str, request: Request, db: ProjectDb, once: OnceDep) -> Response:
    """Add a part of at most 64 MiB. Parts may come in any order, and several at once."""
    state = request.app.state
    if int(request.headers.get("content-length", 0)) > MAX_PART_BYTES + _FORM_OVERHEAD_BYTES:
        raise part_too_large()
    part = _NewPart(db, upload_id, state.settings.max_upload_bytes)
    await run_in_threadpool(part.check)

    blobs: BlobStore = state.blobs
    key = BlobKey(part.id)
    try:
        with once.alone(), blobs.writer(key) as writer:
            data = LargeField("data", MAX_PART_BYTES, writer.write, part_too_large, is_file=False)
            form = MultipartForm(request.headers.get("content-type", ""), data)
            await receive_body(request, form.feed)
            form.check_whole()
            if not form.received_bytes:
                raise InvalidRequest("The part is empty. Send at least one byte.", param="data")
            blob = await run_in_threadpool(writer.commit)
            answer = await run_in_threadpool(part.keep, once, blobs, blob)
    except BlobStoreFull as error:
        raise InsufficientStorage("The server has no space left for this part; nothing of it was kept.") from error
    return answer.render()


@router.post(
    "/{upload_id}/complete",
    operation_id="completeUpload",
    response_model=Upload,
    responses=responses(InvalidRequest, NotFound, Conflict, PayloadTooLarge, InsufficientStorage),
)
async def complete_upload(
    upload_id: str, body: CompleteUploadRequest, request: Request, db: ProjectDb, once: OnceDep
) -> Response:
    """Make a file of the parts, in the order given. Doing it again with the same parts gives the same file."""
    completions: Completions = request.app.state.completions
    completion = Completion(db, request.app.state.blobs, upload_id, body)
    try:
        answer = await completions.run(db.project_id, upload_id, lambda: completion.run(once))
    except BlobStoreFull as error:
        raise InsufficientStorage(
            "The server has no space left to put the parts together; they are kept until the upload expires."
        ) from error
    return answer.render()


@router.post(
    "/{upload_id}/cancel",
    operation_id="cancelUpload",
    response_model=Upload,
    responses=responses(InvalidRequest, NotFound, Conflict),
)
def cancel_upload(upload_id: str, request: Request, once: OnceDep) -> Response:
    """End an upload. Its parts are deleted, and no more are taken."""
    part_ids: list[str] = []

    def cancel(session: ProjectSession) -> Upload:
        part_ids.extend(service.cancel_upload(session, upload_id))
        return service.describe_upload(session, upload_id)

    def find(session: ProjectSession, _id: str) -> Upload:
        return service.describe_upload(session, upload_id)

    answer = once.act(Asked("cancelUpload", {"upload_id": upload_id}), do=cancel, find=find)
    for part_id in part_ids:
        request.app.state.blobs.delete(BlobKey(part_id))
    return answer.render()


class _NewPart:
    def __init__(self, database: ProjectDatabase, upload_id: str, max_upload_bytes: int) -> None:
        self.id = new_part_id()
        self._database = database
        self._upload_id = upload_id
        self._max_upload_bytes = max_upload_bytes

    def check(self) -> None:
        """Raises: NotFound; InvalidRequest: the upload takes no more parts."""
        with self._database.read() as session:
            service.check_open(session, self._upload_id, more_bytes=0, max_upload_bytes=self._max_upload_bytes)

    def keep(self, once: Once, blobs: BlobStore, blob: BlobInfo) -> Answer:
        """Give the blob its part, or delete it.

        Only an idempotency key tells a part that is sent again from another of the same bytes. One too many does no
        harm: `complete` names those that count.
        """

        def make(session: ProjectSession) -> UploadPart:
            row = service.add_part(session, self._upload_id, self.id, blob, max_upload_bytes=self._max_upload_bytes)
            return UploadPart.from_row(row)

        content = {"upload_id": self._upload_id, "bytes": blob.size_bytes, "sha256": blob.sha256}
        is_new = False
        try:
            answer = once.create(Asked("addUploadPart", content), make=make, find=lambda *_: None)
            is_new = answer.is_new
        finally:
            if not is_new:
                blobs.delete(BlobKey(self.id))
        return answer
