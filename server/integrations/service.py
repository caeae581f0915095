"""What clients may ask of integrations."""

from collections.abc import Sequence
from typing import Any

from server.db.project_session import ProjectSession
from server.db.tables import IntegrationRow, JobRow
from server.errors import InvalidRequest
from server.integrations import repository
from server.integrations.schemas import IntegrationRequest


def check(session: ProjectSession, asked: Sequence[IntegrationRequest], *, needs_key: bool) -> None:
    """Refuse what could never be logged.

    Raises:
        InvalidRequest: the project has no key of Weights & Biases; or two would write to the same run.
    """
    if asked and needs_key and not repository.has_wandb_key(session):
        raise InvalidRequest(
            "The project has no API key of Weights & Biases. The operator sets it with `tunesmith projects wandb-key`; "
            "without it, leave 'integrations' out: the job's events carry all metrics.",
            param="integrations",
            code="integration_not_enabled",
        )
    places = [(item.wandb.entity, item.wandb.project) for item in asked]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise InvalidRequest(
                f"Invalid 'integrations[{index}]': an earlier one names the same project of Weights & Biases, where a "
                "job is one run. Leave one of them out.",
                param=f"integrations[{index}]",
                code="invalid_value",
            )


def add(session: ProjectSession, job: JobRow, asked: Sequence[IntegrationRequest]) -> None:
    """Have the worker pass the job's metrics on."""
    for position, item in enumerate(asked):
        session.add(IntegrationRow(project_id=job.project_id, job_id=job.id, position=position, type=item.type))


def shown(job_id: str, asked: Sequence[IntegrationRequest]) -> list[dict[str, Any]]:
    """Give the integrations as the job shows them."""
    return [
        {"type": item.type, "wandb": {**item.wandb.model_dump(), "tags": item.wandb.tags or [], "run_id": job_id}}
        for item in asked
    ]
