"""/v1/models"""

import logging

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from inference.engine import EngineError
from server.auth.dependencies import CallerDep, ProjectDb
from server.db.tables import FineTunedModelRow
from server.errors import Forbidden, NotFound, responses
from server.models import service
from server.models.resolving import find_model
from server.models.schemas import DeleteModelResponse, ListModelsResponse, Model

router = APIRouter(prefix="/v1/models", tags=["Models"])

_LOG = logging.getLogger("tunesmith.api")


@router.get("", operation_id="listModels", responses=responses())
def list_models(request: Request, caller: CallerDep, db: ProjectDb) -> ListModelsResponse:
    """List the base models under each of their names, the project's models, those shared with it, and its aliases."""
    base_models = request.app.state.base_models
    return ListModelsResponse(data=service.list_models(db.engine, base_models, db.project_id, owner=caller.slug))


# Names may hold `/`: newer clients send it as %2F, older ones as it is.
@router.get("/{model:path}", operation_id="retrieveModel", responses=responses(NotFound))
def retrieve_model(model: str, request: Request, caller: CallerDep, db: ProjectDb) -> Model:
    """Describe a model."""
    return service.retrieve_model(db.engine, request.app.state.base_models, db.project_id, model, owner=caller.slug)


@router.delete("/{model:path}", operation_id="deleteModel", responses=responses(Forbidden, NotFound))
async def delete_model(model: str, request: Request, db: ProjectDb) -> DeleteModelResponse:
    """Delete a fine-tuned model: first the door is closed, then the engine forgets it, then its files go."""
    state = request.app.state

    def close() -> FineTunedModelRow:
        with db.write() as session:
            row = service.close_model(session, model)
        if row is None:
            raise service.describe_undeletable(find_model(db.engine, state.base_models, db.project_id, model), model)
        return row

    def delete_files(row: FineTunedModelRow) -> None:
        with db.read() as session:
            service.delete_adapter_files(session, row, state.settings.adapters)

    row = await run_in_threadpool(close)
    try:
        if engine := state.engines.get(row.base_model):
            await engine.forget_adapter(row.name)
    except EngineError:
        _LOG.warning("the engine did not forget %s; its files stay until it is back", row.name)
    else:
        await run_in_threadpool(delete_files, row)
    return DeleteModelResponse(id=model)
