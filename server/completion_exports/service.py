"""One call that turns stored completions into a file: gathered, screened, and visible whole or not at all."""

import time
from collections.abc import Callable
from pathlib import Path

from server.auth.dependencies import ProjectDatabase
from server.completion_exports import repository
from server.completion_exports.desk import ExportDesk, Gathered
from server.completion_exports.schemas import CompletionExport, CreateCompletionExportRequest, PiiFound
from server.db.project_session import ProjectSession
from server.db.tables import CompletionExportRow
from server.errors import InsufficientStorage, InvalidRequest, NotFound
from server.files.schemas import OpenAIFile
from server.files.service import create_file
from server.files.upload import UploadRequest, label_of
from server.ids import FileId, new_completion_export_id, new_file_id
from server.storage.blob_store import BlobInfo, BlobKey, BlobStore, BlobStoreFull
from server.vocabulary import FilePurpose
from trainer.contract.screen import ScreenReport
from trainer.contract.spec import PiiPolicy

_CHUNK_BYTES = 1024 * 1024
_SHOWN = 128  # characters of an id that a client made up
Make = Callable[[ProjectSession], CompletionExport]
# Commits what `Make` makes, or finds what an earlier request made; and says whether it is new.
Commit = Callable[[Make], bool]


def create_export(
    db: ProjectDatabase,
    desk: ExportDesk,
    blobs: BlobStore,
    asked: CreateCompletionExportRequest,
    policy: PiiPolicy,
    commit: Commit,
) -> None:
    """Make the file, and have it committed with what is to be said of it.

    Raises:
        InvalidRequest: nothing is left, or the policy is `block` and personal data or secrets were found.
        PayloadTooLarge, InsufficientStorage, Busy.
    """
    with desk.directory(db.project_id) as run:
        gathered = desk.gather(db, asked, run)
        found = None if policy == "off" else desk.screen(run, redacts=policy == "redact")
        if policy == "block" and found is not None and found.n_found:
            raise _blocked(found)
        file_id = new_file_id()
        blob = _copy(run.screened if policy == "redact" else run.training_file, blobs, file_id)
    is_new = False
    try:
        is_new = commit(lambda session: _add(session, asked, file_id, blob, gathered, _described(policy, found)))
    finally:
        if not is_new:
            blobs.delete(BlobKey(file_id))


def retrieve_export(session: ProjectSession, export_id: str) -> CompletionExport:
    """Raises: NotFound."""
    row = repository.find_export(session, export_id)
    if row is None:
        raise NotFound(f"No such export: {export_id[:_SHOWN]}", param="export_id", code="export_not_found")
    return CompletionExport.model_validate(row.answer)


def find_export(session: ProjectSession, export_id: str) -> CompletionExport | None:
    row = repository.find_export(session, export_id)
    return None if row is None else CompletionExport.model_validate(row.answer)


def _copy(path: Path, blobs: BlobStore, file_id: FileId) -> BlobInfo:
    """Raises: InsufficientStorage."""
    try:
        with path.open("rb") as file:
            return blobs.put(BlobKey(file_id), iter(lambda: file.read(_CHUNK_BYTES), b""))
    except BlobStoreFull as error:
        raise InsufficientStorage("The server has no space left; no file was made.") from error


def _add(
    session: ProjectSession,
    asked: CreateCompletionExportRequest,
    file_id: FileId,
    blob: BlobInfo,
    gathered: Gathered,
    pii: PiiFound | None,
) -> CompletionExport:
    now = int(time.time())
    name = label_of(asked.filename or f"stored-completions-{now}.jsonl")
    row = create_file(session, file_id, UploadRequest(name, FilePurpose.FINE_TUNE, None), blob)
    export = CompletionExport(
        id=new_completion_export_id(),
        created_at=now,
        file=OpenAIFile.from_row(row),
        completions=gathered.n_completions,
        examples=gathered.n_examples,
        left_out=dict(sorted(gathered.left_out.items())),
        pii=pii,
    )
    answer = export.model_dump(mode="json")
    session.add(CompletionExportRow(id=export.id, project_id=session.project_id, created_at=now, answer=answer))
    return export


def _described(policy: PiiPolicy, found: ScreenReport | None) -> PiiFound | None:
    return None if found is None else PiiFound(policy=policy, examples=found.n_found, matches=found.n_matches)


def _blocked(found: ScreenReport) -> InvalidRequest:
    kinds = ", ".join(f"{kind} {n}" for kind, n in found.n_matches.items())
    return InvalidRequest(
        f"{found.n_found} of {found.n_examples} examples hold personal data or secrets ({kinds}), and the policy is "
        "'block'. Narrow the filter, or send 'pii': 'redact'.",
        param="pii",
        code="pii_found",
    )
