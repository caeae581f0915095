"""/v1/batches"""

import time

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.auth.dependencies import CallerDep, ProjectDb
from server.batches import repository, service
from server.batches.schemas import Batch, CreateBatchRequest, ListBatchesResponse
from server.batches.service import PageRequest
from server.db.project_session import ProjectSession
from server.errors import Conflict, InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep
from server.pagination import AfterQuery, LimitQuery

router = APIRouter(prefix="/v1/batches", tags=["Batch"])


@router.post("", operation_id="createBatch", response_model=Batch, responses=responses(InvalidRequest, Conflict))
def create_batch(body: CreateBatchRequest, request: Request, caller: CallerDep, once: OnceDep) -> Response:
    """Have the requests of a file answered within a day, beside what clients ask meanwhile."""
    endpoints = request.app.state.batch_endpoints

    def make(session: ProjectSession) -> Batch:
        row = service.create_batch(session, body, endpoints=endpoints, key_id=caller.key_id, now=time.time())
        return Batch.from_row(row)

    return once.create(Asked("createBatch", body), make=make, find=_find).render()


@router.get("", operation_id="listBatches", responses=responses(InvalidRequest))
def list_batches(db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 20) -> ListBatchesResponse:
    """List the project's batches, newest first."""
    with db.read() as session:
        page = service.list_batches(session, PageRequest(after, limit))
    batches = [Batch.from_row(row) for row in page.rows]
    return ListBatchesResponse(
        data=batches,
        first_id=batches[0].id if batches else None,
        last_id=batches[-1].id if batches else None,
        has_more=page.has_more,
    )


@router.get("/{batch_id}", operation_id="retrieveBatch", responses=responses(NotFound))
def retrieve_batch(batch_id: str, db: ProjectDb) -> Batch:
    """Say how far a batch is."""
    with db.read() as session:
        return Batch.from_row(service.retrieve_batch(session, batch_id))


@router.post(
    "/{batch_id}/cancel", operation_id="cancelBatch", response_model=Batch, responses=responses(NotFound, Conflict)
)
def cancel_batch(batch_id: str, once: OnceDep) -> Response:
    """Have a batch end with what is answered by now; its files hold that."""

    def cancel(session: ProjectSession) -> Batch:
        return Batch.from_row(service.cancel_batch(session, batch_id, now=time.time()))

    return once.act(Asked("cancelBatch", {"batch_id": batch_id}), do=cancel, find=_find).render()


def _find(session: ProjectSession, batch_id: str) -> Batch | None:
    row = repository.find_batch(session, batch_id)
    return None if row is None else Batch.from_row(row)
