"""/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from server.auth.dependencies import CallerDep, ProjectDatabase
from server.checkpoint_permissions import service
from server.checkpoint_permissions.schemas import (
    CreateFineTuningCheckpointPermissionRequest,
    DeleteFineTuningCheckpointPermissionResponse,
    ListFineTuningCheckpointPermissionResponse,
)
from server.db.project_session import ProjectSession
from server.errors import InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import IdempotencyKeyHeader, build_once
from server.pagination import AfterQuery, LimitQuery

router = APIRouter(prefix="/v1/fine_tuning/checkpoints", tags=["Fine-tuning"])


def get_owner_database(fine_tuned_model_checkpoint: str, request: Request, caller: CallerDep) -> ProjectDatabase:
    """The database as the model's project sees it, for an administrator; for anybody else, as the caller's does."""
    database = request.app.state.database
    return ProjectDatabase(database, service.owner_for(database, caller, fine_tuned_model_checkpoint))


OwnerDb = Annotated[ProjectDatabase, Depends(get_owner_database)]


# Names may hold `/`: newer clients send it as %2F, older ones as it is.
@router.get(
    "/{fine_tuned_model_checkpoint:path}/permissions",
    operation_id="listFineTuningCheckpointPermissions",
    responses=responses(InvalidRequest, NotFound),
)
def list_permissions(
    fine_tuned_model_checkpoint: str,
    db: OwnerDb,
    project_id: Annotated[str | None, Query(description="Only the permission of this project.")] = None,
    after: AfterQuery = None,
    limit: LimitQuery = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> ListFineTuningCheckpointPermissionResponse:
    """List who else may use a fine-tuned model."""
    asked = service.PermissionsRequest(project_id, after, limit, order)
    with db.read() as session:
        page = service.list_permissions(session, fine_tuned_model_checkpoint, asked)
    return ListFineTuningCheckpointPermissionResponse.from_rows(page.rows, has_more=page.has_more)


@router.post(
    "/{fine_tuned_model_checkpoint:path}/permissions",
    operation_id="createFineTuningCheckpointPermission",
    response_model=ListFineTuningCheckpointPermissionResponse,
    responses=responses(InvalidRequest, NotFound),
)
def create_permissions(
    fine_tuned_model_checkpoint: str,
    body: CreateFineTuningCheckpointPermissionRequest,
    request: Request,
    caller: CallerDep,
    db: OwnerDb,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Let other projects use a fine-tuned model. Can be repeated."""
    model = fine_tuned_model_checkpoint
    asked = Asked("createFineTuningCheckpointPermission", {"model": model, **body.model_dump()})

    def make(session: ProjectSession, _id: str = "") -> ListFineTuningCheckpointPermissionResponse:
        rows = service.create_permissions(session, model, body.project_ids)
        return ListFineTuningCheckpointPermissionResponse.from_rows(rows, has_more=False)

    with db.read() as session:
        service.check_model(session, model)  # before a word is said about projects
    service.check_projects(db.engine, body.project_ids)
    return build_once(request, caller, db, idempotency_key).create(asked, make=make, find=make).render()


@router.delete(
    "/{fine_tuned_model_checkpoint:path}/permissions/{permission_id}",
    operation_id="deleteFineTuningCheckpointPermission",
    response_model=DeleteFineTuningCheckpointPermissionResponse,
    responses=responses(NotFound),
)
def delete_permission(
    fine_tuned_model_checkpoint: str, permission_id: str, request: Request, caller: CallerDep, db: OwnerDb
) -> Response:
    """Take a permission back: the next request of that project is refused."""
    model = fine_tuned_model_checkpoint
    asked = Asked("deleteFineTuningCheckpointPermission", {"model": model, "id": permission_id})

    def delete(session: ProjectSession) -> DeleteFineTuningCheckpointPermissionResponse:
        service.delete_permission(session, model, permission_id)
        return DeleteFineTuningCheckpointPermissionResponse(id=permission_id)

    def find(_session: ProjectSession, deleted: str) -> DeleteFineTuningCheckpointPermissionResponse:
        return DeleteFineTuningCheckpointPermissionResponse(id=deleted)

    return build_once(request, caller, db, None).act(asked, do=delete, find=find).render()
