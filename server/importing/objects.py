"""OpenAI's objects, as they really are, to rows of ours (pure). What we have no word for is left out, never guessed."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from server.db.tables import CheckpointRow, JobEventRow, JobRow
from server.importing.errors import ObjectFailed
from server.vocabulary import EventLevel, EventType, JobStatus

ORIGIN = "openai"
_METHODS = ("supervised", "dpo", "reinforcement")

Json = dict[str, Any]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
UnixSeconds = Annotated[int, Field(ge=0, lt=2**32)]
Described = TypeVar("Described", bound=BaseModel)


class SourceFile(BaseModel):
    id: Annotated[str, Field(pattern=r"^file-[A-Za-z0-9_-]{1,123}$")]  # it names the blob, too
    filename: str
    purpose: str
    bytes: int = 0
    created_at: UnixSeconds
    expires_at: int | None = None


class SourceJob(BaseModel):
    id: Id
    status: str
    created_at: UnixSeconds
    finished_at: int | None = None
    model: str
    fine_tuned_model: str | None = None
    organization_id: str = ""
    training_file: str
    validation_file: str | None = None
    result_files: list[Any] = []
    hyperparameters: Any = None  # null for other methods than supervised
    method: Any = None  # not there in old jobs
    error: Any = None  # {} where there is none
    metadata: dict[str, str] | None = None
    integrations: Any = None
    seed: int | None = None
    trained_tokens: int | None = None
    user_provided_suffix: str | None = None


class SourceEvent(BaseModel):
    id: Id
    created_at: UnixSeconds
    level: str = "info"
    type: str | None = None
    message: str
    data: Any = None


class SourceCheckpoint(BaseModel):
    id: Id
    created_at: UnixSeconds
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, Any] = {}


def describe(model: type[Described], told: Json) -> Described:
    """Raises: ObjectFailed: it is not what it should be; the message names the field and quotes nothing."""
    try:
        return model.model_validate(told)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ObjectFailed(f"its field {place!r} is missing, or not what it should be") from error


def shown_id(told: Json) -> str:
    """The id of an object that may be anything."""
    name = told.get("id")
    return name[:80] if isinstance(name, str) and name.isprintable() else "(without an id)"


def has_ended(status: str) -> bool:
    return status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


def named_files(told: Json) -> list[str]:
    """The ids of the files that a job speaks of, whatever else is wrong with it."""
    results = told.get("result_files")
    named = [told.get("training_file"), told.get("validation_file"), *(results if isinstance(results, list) else [])]
    return [file_id for file_id in named if isinstance(file_id, str) and file_id]


def job_row(project_id: str, told: Json) -> JobRow:
    """A job that has ended, which no worker takes up. Raises: ObjectFailed."""
    source = describe(SourceJob, told)
    method = _method(source)
    hyperparameters = _hyperparameters(source, method)
    error = source.error if isinstance(source.error, dict) else {}
    return JobRow(
        id=source.id,
        project_id=project_id,
        origin=ORIGIN,
        created_at=source.created_at,
        finished_at=source.finished_at,
        status=JobStatus(source.status),
        requested_model=source.model,
        base_model=source.model,
        training_file=source.training_file,
        validation_file=source.validation_file,
        user_provided_suffix=source.user_provided_suffix,
        seed=source.seed or 0,
        method=method["type"],
        requested_hyperparameters=hyperparameters,
        hyperparameters=hyperparameters,
        job_metadata=source.metadata,
        integrations=_integrations(source.integrations),
        trained_tokens=source.trained_tokens,
        fine_tuned_model=source.fine_tuned_model,
        error_code=_text(error.get("code")) or ("unknown" if error.get("message") else None),
        error_message=_text(error.get("message")),
        error_param=_text(error.get("param")),
        imported=told
        | {
            "organization_id": source.organization_id,
            "result_files": [file_id for file_id in source.result_files if isinstance(file_id, str)],
            "method": method,
        },
    )


def event_row(job: JobRow, told: Json) -> JobEventRow:
    """Raises: ObjectFailed."""
    source = describe(SourceEvent, told)
    level = {"warning": EventLevel.WARN}.get(source.level)
    return JobEventRow(
        id=source.id,
        project_id=job.project_id,
        job_id=job.id,
        created_at=source.created_at,
        level=level or (EventLevel(source.level) if source.level in list(EventLevel) else EventLevel.INFO),
        type=EventType.METRICS if source.type == EventType.METRICS else EventType.MESSAGE,
        message=source.message,
        data=source.data if isinstance(source.data, dict) else None,
    )


def checkpoint_row(job: JobRow, told: Json) -> CheckpointRow:
    """Raises: ObjectFailed."""
    source = describe(SourceCheckpoint, told)
    return CheckpointRow(
        id=source.id,
        project_id=job.project_id,
        job_id=job.id,
        created_at=source.created_at,
        step=source.step_number,
        model_name=source.fine_tuned_model_checkpoint,
        metrics={name: value for name, value in source.metrics.items() if _is_number(value)},
    )


def add_progress(job: JobRow, events: list[JobEventRow]) -> None:
    """Let the job say how many steps it had, from the last metrics among its events."""
    for event in events:
        data = event.data or {}
        step, total = data.get("step"), data.get("total_steps")
        if event.type is EventType.METRICS and isinstance(step, int) and isinstance(total, int):
            job.last_step, job.total_steps = max(job.last_step, step), total


def _method(source: SourceJob) -> Json:
    if isinstance(source.method, dict) and source.method.get("type") in _METHODS:
        return {name: value for name, value in source.method.items() if value is not None}
    return {"type": "supervised"}  # the one there was when jobs did not say


def _hyperparameters(source: SourceJob, method: Json) -> Json:
    """The three that every method has, "auto" for one that is not told; and DPO's beta."""
    part = method.get(method["type"])
    of_method = part.get("hyperparameters") if isinstance(part, dict) else None
    told = next((found for found in (source.hyperparameters, of_method) if isinstance(found, dict)), {})
    multiplier, beta = told.get("learning_rate_multiplier"), told.get("beta")
    has_beta = method["type"] == "dpo" and _is_number(beta)
    return ({"beta": beta} if has_beta else {}) | {
        "n_epochs": _whole(told.get("n_epochs")),
        "batch_size": _whole(told.get("batch_size")),
        "learning_rate_multiplier": multiplier if _is_number(multiplier) else "auto",
    }


def _integrations(told: Any) -> list[Json] | None:
    """Those the official client knows."""
    known = [
        {"type": "wandb", "wandb": item["wandb"]}
        for item in (told if isinstance(told, list) else [])
        if isinstance(item, dict)
        and isinstance(item.get("wandb"), dict)
        and isinstance(item["wandb"].get("project"), str)
    ]
    return known or None


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) and told else None


def _whole(value: Any) -> int | str:
    return int(value) if _is_number(value) and value == int(value) else "auto"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
