"""/v1/responses, but for what the relay answers: creating one, and counting."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from fastapi.responses import Response as HttpResponse

from server.auth.dependencies import CallerDep, ProjectDb
from server.db.project_session import ProjectSession
from server.errors import InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import UnkeyedOnceDep
from server.pagination import AfterQuery
from server.responses import keeping, service
from server.responses.retention import Retention
from server.responses.schemas import DeletedResponse, Response, ResponseItemList
from server.responses.service import Order

router = APIRouter(prefix="/v1/responses", tags=["Responses"])

_ONE = "/{response_id}"
_LimitQuery = Annotated[int, Query(ge=1, le=100, description="The most items of a page.")]
_StreamQuery = Annotated[bool, Query(description="Events of a response that was stored: not offered here.")]


@router.get("", operation_id="connectResponses", response_model=None, responses=responses(InvalidRequest))
def connect_responses(_caller: CallerDep) -> HttpResponse:
    """Refuse a WebSocket by name."""
    raise _unsupported("Responses over a WebSocket are not offered here. POST to /v1/responses, with 'stream' set.")


@router.post("/compact", operation_id="compactConversation", response_model=None, responses=responses(InvalidRequest))
def compact_conversation(_caller: CallerDep) -> HttpResponse:
    """Refuse to compact a conversation by name."""
    raise _unsupported("Conversations are not compacted here: no model of this server does so.")


@router.get(_ONE, operation_id="getResponse", response_model=Response, responses=responses(InvalidRequest, NotFound))
def get_response(response_id: str, request: Request, db: ProjectDb, stream: _StreamQuery = False) -> HttpResponse:
    """Give a response that was stored. One in the background is `queued` or `in_progress` until it has ended."""
    if stream:
        raise _unsupported("A response that was stored is not streamed. Retrieve it without 'stream'.", "stream")
    with db.read() as session:
        return JSONResponse(keeping.show(session, service.find(session, response_id, since=_since(request))))


@router.delete(_ONE, operation_id="deleteResponse", response_model=DeletedResponse, responses=responses(NotFound))
def delete_response(response_id: str, request: Request, once: UnkeyedOnceDep) -> HttpResponse:
    """Delete a response with its items. A conversation that went on from it cannot be continued."""
    since = _since(request)

    def delete(session: ProjectSession) -> DeletedResponse:
        service.delete(session, response_id, since=since)
        return DeletedResponse(id=response_id)

    def find(_session: ProjectSession, deleted: str) -> DeletedResponse:
        return DeletedResponse(id=deleted)

    return once.act(Asked("deleteResponse", {"id": response_id}), do=delete, find=find).render()


@router.post(
    _ONE + "/cancel",
    operation_id="cancelResponse",
    response_model=Response,
    responses=responses(InvalidRequest, NotFound),
)
def cancel_response(response_id: str, request: Request, db: ProjectDb) -> HttpResponse:
    """Cancel a response in the background. One that has ended is given as it is."""
    with db.write() as session:
        body = service.cancel(session, response_id, since=_since(request))
    return JSONResponse(body)


@router.get(_ONE + "/input_items", operation_id="listInputItems", responses=responses(InvalidRequest, NotFound))
def list_input_items(
    response_id: str,
    request: Request,
    db: ProjectDb,
    after: AfterQuery = None,
    limit: _LimitQuery = 20,
    order: Order = "desc",
) -> ResponseItemList:
    """List what the model was given for a response, with the conversation before it."""
    with db.read() as session:
        items = service.list_input(session, response_id, since=_since(request))
    page = service.page_of(items, after=after, limit=limit, order=order)
    ids = [item["id"] for item in page.rows]
    return ResponseItemList(
        data=list(page.rows),
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=page.has_more,
    )


def _since(request: Request) -> float:
    retention: Retention = request.app.state.response_retention
    return retention.since(time.time())


def _unsupported(message: str, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="unsupported_parameter" if param else "unsupported_operation")
