"""/v1/tunesmith/models: not OpenAI's. A fine-tuned model to take away."""

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from server.auth.dependencies import ProjectDb
from server.db.tables import FineTunedModelRow
from server.errors import Forbidden, InvalidRequest, NotFound, responses
from server.models.archive import open_archive, safe_name
from server.models.resolving import UsableModel, find_model
from server.models.routes import ModelName
from server.models.service import model_not_found

router = APIRouter(prefix="/v1/tunesmith/models", tags=["Models"])

_MEDIA_TYPE = "application/x-tar"


# Names may hold `/`: newer clients send it as %2F, older ones as it is.
@router.get(
    "/{model:path}/archive",
    operation_id="downloadModelArchive",
    response_class=StreamingResponse,
    responses=responses(Forbidden, InvalidRequest, NotFound)
    | {200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_archive(model: ModelName, request: Request, db: ProjectDb) -> StreamingResponse:
    """Give a fine-tuned model of the project as a tar: PEFT's directory, manifest, model card and licence."""
    state = request.app.state
    found = find_model(db.engine, state.base_models, db.project_id, model)
    row = _require_own(found, model)
    directory = state.settings.adapters / row.directory
    name = safe_name(row.name)
    try:
        archive = open_archive(directory, top=name, created_at=row.created_at)
    except FileNotFoundError:  # it was deleted a moment ago
        raise model_not_found(model) from None
    return StreamingResponse(
        archive.chunks,
        media_type=_MEDIA_TYPE,
        headers={
            "content-length": str(archive.size_bytes),
            "content-disposition": f'attachment; filename="{name}.tar"',
        },
    )


def _require_own(found: UsableModel | None, name: str) -> FineTunedModelRow:
    """Raises: ApiError: it is no fine-tuned model of the project's, and why that one cannot be taken away."""
    if found is None:
        raise model_not_found(name)
    if found.row is None:
        raise InvalidRequest(
            f"The model '{name}' is a base model of this server; only fine-tuned models can be downloaded.",
            param="model",
            code="invalid_value",
        )
    if found.owner is not None:
        raise Forbidden(f"The model '{name}' belongs to another project, which alone can download it.")
    return found.row
