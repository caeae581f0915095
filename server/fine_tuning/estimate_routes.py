"""/v1/fine_tuning/estimate"""

from fastapi import APIRouter, Request

from server.auth.dependencies import CallerDep, ProjectDb
from server.errors import Busy, InvalidRequest, PayloadTooLarge, responses
from server.fine_tuning import service
from server.fine_tuning.dry_runs.dry_run import DryRun
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.models.resolving import find_model

router = APIRouter(prefix="/v1/fine_tuning/estimate", tags=["Fine-tuning"])


@router.post("", operation_id="estimateFineTuningJob", responses=responses(InvalidRequest, PayloadTooLarge, Busy))
def estimate_fine_tuning_job(
    body: CreateFineTuningJobRequest, request: Request, caller: CallerDep, db: ProjectDb
) -> DryRun:
    """Say what a job would come to, without creating it. Takes as long as it takes to tokenise the files."""
    state = request.app.state
    model = find_model(state.database, state.base_models, caller.project_id, body.model)
    with db.read() as session:
        question = service.build_question(session, state.offer, model, body, state.settings)
    estimate: DryRun = state.estimates.answer(question)
    return estimate
