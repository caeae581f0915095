"""/v1/tunesmith/model_imports: not OpenAI's. An adapter that was made elsewhere becomes a fine-tuned model."""

import errno
import hashlib

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from server.adapter_imports import service
from server.adapter_imports.desk import ImportDesk, ImportDirectory
from server.adapter_imports.schemas import ModelImport
from server.adapter_imports.service import AskedImport
from server.auth.dependencies import ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Busy, Conflict, InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge, responses
from server.files.form import LargeField, MultipartForm, missing
from server.files.receiving import receive_body
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep
from server.idempotency.once import Answer, Once

router = APIRouter(prefix="/v1/tunesmith/model_imports", tags=["Models"])

_FORM_OVERHEAD_BYTES = 128 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORM = {
    "type": "object",
    "required": ["file", "base_model"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "base_model": {"type": "string"},
        "suffix": {"type": "string", "maxLength": 64},
    },
}


@router.post(
    "",
    operation_id="createModelImport",
    response_model=ModelImport,
    responses=responses(InvalidRequest, Conflict, PayloadTooLarge, Busy, InsufficientStorage),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def create_model_import(request: Request, once: OnceDep) -> Response:
    """Hand in a PEFT adapter as a tar or a zip. What is wrong with its files is answered at once."""
    state = request.app.state
    max_bytes = state.settings.max_adapter_bytes
    if int(request.headers.get("content-length", 0)) > max_bytes + _FORM_OVERHEAD_BYTES:
        raise _too_large(max_bytes)
    desk: ImportDesk = state.model_imports
    try:
        with once.alone(), desk.new_directory() as directory:
            form, digest = await _receive(request, directory, max_bytes)
            answer = await run_in_threadpool(_take_in, request, once, directory, form, digest)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InsufficientStorage("The server has no space left for this adapter; nothing of it was kept.") from error
    return answer.render()


@router.get("/{import_id}", operation_id="retrieveModelImport", responses=responses(NotFound))
def retrieve_model_import(import_id: str, db: ProjectDb) -> ModelImport:
    """Say what has become of an import."""
    with db.read() as session:
        return ModelImport.from_row(service.retrieve_import(session, import_id))


async def _receive(request: Request, directory: ImportDirectory, max_bytes: int) -> tuple[MultipartForm, str]:
    """Write the archive to the disk as it comes; give the form around it, and its hash."""
    digest = hashlib.sha256()
    with directory.archive.open("xb") as archive:

        def write(data: memoryview) -> None:
            digest.update(data)
            archive.write(data)

        large = LargeField("file", max_bytes, write, lambda: _too_large(max_bytes))
        form = MultipartForm(request.headers.get("content-type", ""), large, others=("base_model", "suffix"))
        await receive_body(request, form.feed)
    form.check_whole()
    return form, digest.hexdigest()


def _take_in(request: Request, once: Once, directory: ImportDirectory, form: MultipartForm, digest: str) -> Answer:
    """Raises: InvalidRequest, PayloadTooLarge, Busy."""
    state = request.app.state
    if "base_model" not in form.values:
        raise missing("base_model")
    asked = service.read_asked(
        state.base_models, base_model=form.values["base_model"], suffix=form.values.get("suffix")
    )
    rebuilt = service.stage_adapter(directory.archive, directory, asked, state.settings)
    directory.archive.unlink()

    def make(session: ProjectSession) -> ModelImport:
        return ModelImport.from_row(service.create_import(session, directory, asked, rebuilt))

    def find(session: ProjectSession, first_id: str) -> ModelImport:
        return ModelImport.from_row(service.retrieve_import(session, first_id))

    answer = once.create(Asked("createModelImport", _content(asked, digest)), make=make, find=find)
    directory.is_kept = answer.is_new
    return answer


def _content(asked: AskedImport, digest: str) -> dict[str, object]:
    return {"base_model": asked.base_name, "suffix": asked.suffix, "sha256": digest}


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The adapter is too large: at most {max_bytes} bytes ({max_bytes / 1024**2:.0f} MiB) are accepted. "
        "TUNESMITH_MAX_ADAPTER_BYTES sets this.",
        param="file",
    )
