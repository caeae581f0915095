"""/health: the process is up. /ready: it can do its work."""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from server.db.engine import check_writable
from server.errors import EngineUnavailable, ErrorResponse

router = APIRouter(tags=["Health"])

_NOT_READY: dict[int | str, dict[str, object]] = {503: {"model": ErrorResponse, "description": "EngineUnavailable"}}


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    engines: dict[str, str]  # by base model: "ready", or why it is away by plan


@router.get("/health", operation_id="health")
async def health() -> Health:
    """Say that the process answers."""
    return Health(status="ok")


@router.get(
    "/ready", operation_id="ready", responses={503: {"model": ErrorResponse, "description": "EngineUnavailable"}}
)
async def ready(request: Request) -> Readiness:
    """Say that the database can be written and every engine that is to run answers; 503 until then."""
    try:
        await run_in_threadpool(check_writable, request.app.state.database)
    except DBAPIError as error:
        raise EngineUnavailable("The database cannot be written.") from error
    engines: dict[str, str] = {}
    for name, engine in request.app.state.engines.items():
        state = await engine.health()
        engines[name] = state.detail
        if state.is_wanted and not state.ready:
            raise EngineUnavailable(f"The engine of {name} is not ready: {state.detail}")
    return Readiness(status="ready", engines=engines)
