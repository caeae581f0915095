"""/metrics, for Prometheus with an admin key."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from server.auth.dependencies import RequireAdmin
from server.errors import Forbidden, responses
from server.metrics import repository
from server.metrics.scrape import CONTENT_TYPE, Seen, render
from server.webhooks.repository import count_deliveries

router = APIRouter(tags=["Health"], dependencies=[Depends(RequireAdmin("api.metrics.read"))])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"}
}


@router.get("/metrics", operation_id="metrics", response_class=Response, responses={**responses(Forbidden), **_TEXT})
async def metrics(request: Request) -> Response:
    """Give what was counted, by base model, and the state of engines and jobs."""
    state = request.app.state
    engines = {name: await engine.report() for name, engine in state.engines.items()}

    def look_up() -> bytes:
        jobs, running = repository.count_jobs(state.database), repository.list_running(state.database)
        webhooks = count_deliveries(state.database)
        return render(Seen(engines, jobs, running, state.usage_folder.unfolded_bytes(), webhooks))

    return Response(await run_in_threadpool(look_up), media_type=CONTENT_TYPE)
