"""/v1/tunesmith/model_aliases: not OpenAI's. For admin keys, in the project that `OpenAI-Project` names."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from server.auth.dependencies import CallerDep, ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Forbidden, InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import UnkeyedOnceDep
from server.models import aliases, repository
from server.models.schemas import DeleteModelAliasResponse, ListModelAliasesResponse, ModelAlias, SetModelAliasRequest


def require_admin(caller: CallerDep) -> None:
    """Raises: Forbidden."""
    if not caller.is_admin:
        raise Forbidden("Model aliases can be seen and changed with an admin key only.")


router = APIRouter(prefix="/v1/tunesmith/model_aliases", tags=["Models"], dependencies=[Depends(require_admin)])


@router.get("", operation_id="listModelAliases", responses=responses(Forbidden))
def list_model_aliases(db: ProjectDb) -> ListModelAliasesResponse:
    """List the project's aliases, oldest first, those whose model is gone, too."""
    with db.read() as session:
        return ListModelAliasesResponse(data=[ModelAlias.from_row(row) for row in repository.list_aliases(session)])


# Names may hold `/`: some clients send it as %2F, others as it is.
@router.put("/{name:path}", operation_id="setModelAlias", responses=responses(Forbidden, InvalidRequest))
def set_model_alias(name: str, body: SetModelAliasRequest, request: Request, db: ProjectDb) -> ModelAlias:
    """Make a name stand for a model that the project may use, whatever it stood for before."""
    base_models = request.app.state.base_models
    row = aliases.set_alias(db.engine, base_models, db.project_id, name=name, target=body.target)
    return ModelAlias.from_row(row)


@router.delete(
    "/{name:path}",
    operation_id="deleteModelAlias",
    response_model=DeleteModelAliasResponse,
    responses=responses(Forbidden, NotFound),
)
def delete_model_alias(name: str, once: UnkeyedOnceDep) -> Response:
    """Remove an alias. The model stays."""

    def delete(session: ProjectSession) -> DeleteModelAliasResponse:
        aliases.delete_alias(session, name)
        return DeleteModelAliasResponse(id=name)

    def find(_session: ProjectSession, deleted: str) -> DeleteModelAliasResponse:
        return DeleteModelAliasResponse(id=deleted)

    return once.act(Asked("deleteModelAlias", {"name": name}), do=delete, find=find).render()
