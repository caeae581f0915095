"""/v1/chat/completions, but for the request that makes one, which the relay answers."""

import re
import time
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from server.auth.dependencies import ProjectDb
from server.db.project_session import ProjectSession
from server.db.tables import StoredCompletionRow
from server.errors import Busy, Conflict, InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep, UnkeyedOnceDep
from server.pagination import AfterQuery, LimitQuery
from server.stored_completions import service
from server.stored_completions.completion import labels_of
from server.stored_completions.messages import page_of
from server.stored_completions.schemas import (
    MAX_PAIRS,
    DeletedChatCompletion,
    ListStoredChatCompletions,
    ListStoredMessages,
    StoredChatCompletion,
    UpdateChatCompletionRequest,
    json_answer,
    list_answer,
    show_completion,
)
from server.stored_completions.service import PageRequest

router = APIRouter(prefix="/v1/chat/completions", tags=["Chat"])

_ONE = "/{completion_id}"
_PAIR = re.compile(r"metadata\[(.+)\]", re.DOTALL)
_FILTER_BY_PAIRS = "Invalid 'metadata': filter by metadata[key]=value."
Order = Annotated[Literal["asc", "desc"], Query(description="By the time of creation.")]


@router.get(
    "",
    operation_id="listChatCompletions",
    response_model=ListStoredChatCompletions,
    responses=responses(InvalidRequest),
)
def list_chat_completions(
    request: Request,
    db: ProjectDb,
    after: AfterQuery = None,
    limit: LimitQuery = 20,
    order: Order = "asc",
    model: Annotated[str | None, Query(description="Only those that name this model.")] = None,
    metadata: Annotated[
        str | None, Query(description="`metadata[key]=value`, any number of times: those with all the pairs.")
    ] = None,
) -> Response:
    """List the project's stored completions. A page may hold fewer than `limit`, where they are large."""
    if metadata is not None:
        raise InvalidRequest(_FILTER_BY_PAIRS, param="metadata", code="invalid_value")
    labels = labels_of(model, _read_pairs(request.query_params.multi_items()))
    with db.read() as session:
        page = service.list_completions(session, PageRequest(after, limit, order == "asc"), labels)
    return list_answer([show_completion(row) for row in page.rows], has_more=page.has_more)


@router.get(_ONE, operation_id="getChatCompletion", response_model=StoredChatCompletion, responses=responses(NotFound))
def get_chat_completion(completion_id: str, db: ProjectDb) -> Response:
    """Give a stored completion."""
    with db.read() as session:
        row = service.retrieve_completion(session, completion_id)
    return json_answer(show_completion(row))


@router.post(
    _ONE,
    operation_id="updateChatCompletion",
    response_model=StoredChatCompletion,
    responses=responses(InvalidRequest, NotFound, Conflict, Busy),
)
def update_chat_completion(completion_id: str, body: UpdateChatCompletionRequest, once: OnceDep) -> Response:
    """Put other metadata in the place of a stored completion's."""
    asked = Asked("updateChatCompletion", {"id": completion_id, **body.model_dump(mode="json")})

    def update(session: ProjectSession) -> StoredChatCompletion:
        return _described(service.update_metadata(session, completion_id, body.metadata))

    def find(session: ProjectSession, found_id: str) -> StoredChatCompletion:
        return _described(service.retrieve_completion(session, found_id))

    return once.act(asked, do=update, find=find).render()


@router.delete(
    _ONE,
    operation_id="deleteChatCompletion",
    response_model=DeletedChatCompletion,
    responses=responses(NotFound),
)
def delete_chat_completion(completion_id: str, once: UnkeyedOnceDep) -> Response:
    """Delete a stored completion."""

    def delete(session: ProjectSession) -> DeletedChatCompletion:
        service.delete_completion(session, completion_id, now=time.time())
        return DeletedChatCompletion(id=completion_id)

    def find(_session: ProjectSession, deleted_id: str) -> DeletedChatCompletion:
        return DeletedChatCompletion(id=deleted_id)

    return once.act(Asked("deleteChatCompletion", {"id": completion_id}), do=delete, find=find).render()


@router.get(
    _ONE + "/messages",
    operation_id="getChatCompletionMessages",
    response_model=ListStoredMessages,
    responses=responses(InvalidRequest, NotFound),
)
def get_chat_completion_messages(
    completion_id: str, db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 20, order: Order = "asc"
) -> Response:
    """List the messages that a stored completion answered."""
    with db.read() as session:
        messages = service.retrieve_messages(session, completion_id)
    page = page_of(orjson.loads(messages), completion_id, after=after, limit=limit, ascending=order == "asc")
    return list_answer(page.rows, has_more=page.has_more)


def _read_pairs(query: list[tuple[str, str]]) -> dict[str, str]:
    pairs = {match[1]: value for name, value in query if (match := _PAIR.fullmatch(name))}
    if len(pairs) > MAX_PAIRS:
        raise InvalidRequest(
            f"Invalid 'metadata': too many pairs. A completion has at most {MAX_PAIRS}, but got {len(pairs)} instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    return pairs


def _described(row: StoredCompletionRow) -> StoredChatCompletion:
    return StoredChatCompletion.model_validate(show_completion(row))
