"""/v1/models"""

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from inference.engine import EngineError
from server.auth.dependencies import CallerDep, ProjectDatabase, ProjectDb
from server.db.project_session import ProjectSession
from server.db.tables import FineTunedModelRow
from server.errors import Forbidden, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import UnkeyedOnceDep
from server.models import service
from server.models.resolving import find_model
from server.models.schemas import DeleteModelResponse, ListModelsResponse, Model

router = APIRouter(prefix="/v1/models", tags=["Models"])

_LOG = logging.getLogger("tunesmith.api")


def get_name(model: str) -> str:
    """Raises: HTTPException: the path ends with the slash before the name."""
    if not model:
        raise HTTPException(404)
    return model


ModelName = Annotated[str, Depends(get_name)]


@router.get("", operation_id="listModels", responses=responses())
def list_models(request: Request, caller: CallerDep, db: ProjectDb) -> ListModelsResponse:
    """List the base models under each of their names, the project's models, those shared with it, and its aliases."""
    base_models = request.app.state.base_models
    return ListModelsResponse(data=service.list_models(db.engine, base_models, db.project_id, owner=caller.slug))


# Names may hold `/`: newer clients send it as %2F, older ones as it is.
@router.get("/{model:path}", operation_id="retrieveModel", responses=responses(NotFound))
def retrieve_model(model: ModelName, request: Request, caller: CallerDep, db: ProjectDb) -> Model:
    """Describe a model."""
    return service.retrieve_model(db.engine, request.app.state.base_models, db.project_id, model, owner=caller.slug)


@router.delete(
    "/{model:path}",
    operation_id="deleteModel",
    response_model=DeleteModelResponse,
    responses=responses(Forbidden, NotFound),
)
async def delete_model(model: ModelName, request: Request, db: ProjectDb, once: UnkeyedOnceDep) -> Response:
    """Delete a fine-tuned model: first the door is closed, then the engine forgets it, then its files go."""
    state = request.app.state
    closed: list[FineTunedModelRow] = []

    def close(session: ProjectSession) -> DeleteModelResponse:
        row = service.close_model(session, model)
        if row is None:
            raise service.describe_undeletable(find_model(db.engine, state.base_models, db.project_id, model), model)
        closed.append(row)
        return DeleteModelResponse(id=model)

    def find(_session: ProjectSession, deleted: str) -> DeleteModelResponse:
        return DeleteModelResponse(id=deleted)

    answer = await run_in_threadpool(once.act, Asked("deleteModel", {"model": model}), do=close, find=find)
    for row in closed:  # none, where an earlier try has done it
        await _delete_adapter(request, db, row)
    return answer.render()


async def _delete_adapter(request: Request, db: ProjectDatabase, row: FineTunedModelRow) -> None:
    state = request.app.state
    engine = state.full_engines.get(row.name) if row.is_full else state.engines.get(row.base_model)

    def delete_files() -> None:
        with db.read() as session:
            service.delete_adapter_files(session, row, state.settings.adapters)

    try:
        if engine is not None:
            await engine.forget_adapter(row.name)
        if row.is_full:
            await state.full_engines.drop(row.name)
    except EngineError:
        _LOG.warning("the engine did not forget %s; its files stay until it is back", row.name)
    else:
        await run_in_threadpool(delete_files)
