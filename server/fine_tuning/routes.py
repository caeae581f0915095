"""/v1/fine_tuning/jobs"""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from server.accepting import prefers_html
from server.auth.dependencies import CallerDep, ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge, responses
from server.fine_tuning import repository, service
from server.fine_tuning.reports.page import CONTENT_SECURITY_POLICY, render
from server.fine_tuning.schemas import (
    CreateFineTuningJobRequest,
    FineTuningJob,
    FineTuningJobCheckpoint,
    FineTuningJobEvent,
    JobReport,
    ListCheckpointsResponse,
    ListEventsResponse,
    ListJobsResponse,
)
from server.fine_tuning.service import PageRequest
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep
from server.integrations import service as integrations
from server.models.resolving import find_model
from server.pagination import AfterQuery, LimitQuery

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["Fine-tuning"])

_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_METADATA = re.compile(r"metadata\[(.+)\]", re.DOTALL)


@router.post(
    "",
    operation_id="createFineTuningJob",
    response_model=FineTuningJob,
    responses=responses(InvalidRequest, Conflict, PayloadTooLarge),
)
def create_fine_tuning_job(
    body: CreateFineTuningJobRequest, request: Request, caller: CallerDep, once: OnceDep
) -> Response:
    """Create a job that makes a fine-tuned model of a base model, or of a fine-tuned one, and a file of examples."""
    offer, settings = request.app.state.offer, request.app.state.settings
    model = find_model(request.app.state.database, offer.base_models, caller.project_id, body.model)

    def make(session: ProjectSession) -> FineTuningJob:
        integrations.check(session, body.integrations or [], needs_key=settings.wandb_mode == "online")
        job = service.create_job(session, offer, model, body)
        return FineTuningJob.from_row(job, caller.organization_id)

    def find(session: ProjectSession, job_id: str) -> FineTuningJob | None:
        job = repository.find_job(session, job_id)
        return None if job is None else FineTuningJob.from_row(job, caller.organization_id)

    return once.create(Asked("createFineTuningJob", body), make=make, find=find).render()


@router.get("", operation_id="listPaginatedFineTuningJobs", responses=responses(InvalidRequest))
def list_fine_tuning_jobs(
    request: Request,
    caller: CallerDep,
    db: ProjectDb,
    after: AfterQuery = None,
    limit: LimitQuery = 20,
    metadata: Annotated[
        str | None, Query(description="`metadata[key]=value`: jobs with this pair; `metadata=null`: jobs with none.")
    ] = None,
) -> ListJobsResponse:
    """List the project's jobs, newest first."""
    pairs = _metadata_filter(request.query_params.multi_items(), metadata)
    with db.read() as session:
        page = service.list_jobs(session, PageRequest(after, limit), pairs)
    jobs = [FineTuningJob.from_row(row, caller.organization_id) for row in page.rows]
    return ListJobsResponse(data=jobs, has_more=page.has_more)


@router.get("/{fine_tuning_job_id}", operation_id="retrieveFineTuningJob", responses=responses(NotFound))
def retrieve_fine_tuning_job(fine_tuning_job_id: str, caller: CallerDep, db: ProjectDb) -> FineTuningJob:
    """Describe a job."""
    with db.read() as session:
        return FineTuningJob.from_row(service.retrieve_job(session, fine_tuning_job_id), caller.organization_id)


@router.post(
    "/{fine_tuning_job_id}/cancel",
    operation_id="cancelFineTuningJob",
    response_model=FineTuningJob,
    responses=responses(InvalidRequest, NotFound, Conflict),
)
def cancel_fine_tuning_job(fine_tuning_job_id: str, caller: CallerDep, once: OnceDep) -> Response:
    """Cancel a job that has not ended."""

    def cancel(session: ProjectSession) -> FineTuningJob:
        return FineTuningJob.from_row(service.cancel_job(session, fine_tuning_job_id), caller.organization_id)

    def find(session: ProjectSession, job_id: str) -> FineTuningJob:
        return FineTuningJob.from_row(service.retrieve_job(session, job_id), caller.organization_id)

    asked = Asked("cancelFineTuningJob", {"fine_tuning_job_id": fine_tuning_job_id})
    return once.act(asked, do=cancel, find=find).render()


@router.post(
    "/{fine_tuning_job_id}/pause",
    operation_id="pauseFineTuningJob",
    response_model=FineTuningJob,
    responses=responses(InvalidRequest, NotFound, Conflict),
)
def pause_fine_tuning_job(fine_tuning_job_id: str, caller: CallerDep, once: OnceDep) -> Response:
    """Pause a job that waits or runs. What it has learnt so far becomes a checkpoint that can be used as a model."""

    def pause(session: ProjectSession) -> FineTuningJob:
        return FineTuningJob.from_row(service.pause_job(session, fine_tuning_job_id), caller.organization_id)

    def find(session: ProjectSession, job_id: str) -> FineTuningJob:
        return FineTuningJob.from_row(service.retrieve_job(session, job_id), caller.organization_id)

    asked = Asked("pauseFineTuningJob", {"fine_tuning_job_id": fine_tuning_job_id})
    return once.act(asked, do=pause, find=find).render()


@router.post(
    "/{fine_tuning_job_id}/resume",
    operation_id="resumeFineTuningJob",
    response_model=FineTuningJob,
    responses=responses(InvalidRequest, NotFound, Conflict),
)
def resume_fine_tuning_job(fine_tuning_job_id: str, caller: CallerDep, once: OnceDep) -> Response:
    """Let a paused job go on."""

    def resume(session: ProjectSession) -> FineTuningJob:
        return FineTuningJob.from_row(service.resume_job(session, fine_tuning_job_id), caller.organization_id)

    def find(session: ProjectSession, job_id: str) -> FineTuningJob:
        return FineTuningJob.from_row(service.retrieve_job(session, job_id), caller.organization_id)

    asked = Asked("resumeFineTuningJob", {"fine_tuning_job_id": fine_tuning_job_id})
    return once.act(asked, do=resume, find=find).render()


@router.get(
    "/{fine_tuning_job_id}/events", operation_id="listFineTuningEvents", responses=responses(InvalidRequest, NotFound)
)
def list_fine_tuning_events(
    fine_tuning_job_id: str, db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 20
) -> ListEventsResponse:
    """List what happened to a job, newest first."""
    with db.read() as session:
        page = service.list_events(session, fine_tuning_job_id, PageRequest(after, limit))
    return ListEventsResponse(data=[FineTuningJobEvent.from_row(row) for row in page.rows], has_more=page.has_more)


@router.get(
    "/{fine_tuning_job_id}/report",
    operation_id="retrieveFineTuningJobReport",
    response_model=JobReport,
    responses=responses(InvalidRequest, NotFound) | _HTML,
)
def retrieve_fine_tuning_job_report(
    fine_tuning_job_id: str,
    request: Request,
    db: ProjectDb,
    form: Annotated[
        Literal["json", "html"] | None, Query(alias="format", description="Goes before the header `Accept`.")
    ] = None,
) -> Response:
    """Tell what was found in the files of a job; as a page for a browser where that is preferred."""
    with db.read() as session:
        report = JobReport.from_row(service.retrieve_report(session, fine_tuning_job_id))
    is_html = form == "html" or (form is None and prefers_html(request.headers.get("accept")))
    headers = {"vary": "Accept", "x-content-type-options": "nosniff"}
    if is_html:
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
        return HTMLResponse(render(report), headers=headers)
    return Response(report.model_dump_json(), media_type="application/json", headers=headers)


@router.get(
    "/{fine_tuning_job_id}/checkpoints",
    operation_id="listFineTuningJobCheckpoints",
    responses=responses(InvalidRequest, NotFound),
)
def list_fine_tuning_job_checkpoints(
    fine_tuning_job_id: str, db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 10
) -> ListCheckpointsResponse:
    """List the checkpoints of a job, newest step first. Each can be used as a model."""
    with db.read() as session:
        page = service.list_checkpoints(session, fine_tuning_job_id, PageRequest(after, limit))
    checkpoints = [FineTuningJobCheckpoint.from_row(row) for row in page.rows]
    return ListCheckpointsResponse(
        data=checkpoints,
        first_id=checkpoints[0].id if checkpoints else None,
        last_id=checkpoints[-1].id if checkpoints else None,
        has_more=page.has_more,
    )


def _metadata_filter(query: list[tuple[str, str]], metadata: str | None) -> dict[str, str] | None:
    pairs = {match[1]: value for name, value in query if (match := _METADATA.fullmatch(name))}
    if metadata is None:
        return pairs
    if metadata != "null" or pairs:
        raise InvalidRequest(
            "Invalid 'metadata': filter by metadata[key]=value, or by metadata=null alone.",
            param="metadata",
            code="invalid_value",
        )
    return None
