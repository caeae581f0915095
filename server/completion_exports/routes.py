"""/v1/tunesmith/chat_completion_exports"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.auth.dependencies import ProjectDb
from server.completion_exports import service
from server.completion_exports.schemas import CompletionExport, CreateCompletionExportRequest
from server.completion_exports.service import Make
from server.errors import Busy, Conflict, InsufficientStorage, InvalidRequest, NotFound, PayloadTooLarge, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep
from server.idempotency.once import Answer

router = APIRouter(prefix="/v1/tunesmith/chat_completion_exports", tags=["Chat"])


@router.post(
    "",
    operation_id="createChatCompletionExport",
    response_model=CompletionExport,
    responses=responses(InvalidRequest, Conflict, PayloadTooLarge, Busy, InsufficientStorage),
)
def create_chat_completion_export(
    body: CreateCompletionExportRequest, request: Request, db: ProjectDb, once: OnceDep
) -> Response:
    """Make a training file of stored completions. Takes as long as it takes to look them through."""
    state = request.app.state
    answers: list[Answer] = []

    def commit(make: Make) -> bool:
        answers.append(once.create(Asked("createChatCompletionExport", body), make=make, find=service.find_export))
        return answers[0].is_new

    with once.alone():
        policy = body.pii or state.settings.pii_policy
        service.create_export(db, state.export_desk, state.blobs, body, policy, commit)
    return answers[0].render()


@router.get("/{export_id}", operation_id="retrieveChatCompletionExport", responses=responses(NotFound))
def retrieve_chat_completion_export(export_id: str, db: ProjectDb) -> CompletionExport:
    """Say again what an export came to, for 30 days. Its file is one like any other, and stays."""
    with db.read() as session:
        return service.retrieve_export(session, export_id)
