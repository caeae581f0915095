"""Fine-tuning jobs on the wire, in OpenAI's order."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import CheckpointRow, JobEventRow, JobReportRow, JobRow
from server.fine_tuning.asked.hyperparameters import Hyperparameters, TunedHyperparameters
from server.fine_tuning.asked.methods import Method, MethodRequest, hyperparameters_of
from server.fine_tuning.asked.shown import JobHyperparameters
from server.fine_tuning.data_options import DataOptions
from server.fine_tuning.data_report import DataReport
from server.integrations.schemas import MAX_INTEGRATIONS, IntegrationRequest
from server.vocabulary import EventLevel, EventType, JobStatus, MethodType


class _Request(BaseModel):
    """What clients send: no field but these, and no value taken for one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class CreateFineTuningJobRequest(_Request):
    """OpenAI: CreateFineTuningJobRequest."""

    model: str
    training_file: str
    hyperparameters: Hyperparameters | None = None  # deprecated upstream, and what many programs send
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    validation_file: str | None = None
    integrations: Annotated[list[IntegrationRequest], Field(max_length=MAX_INTEGRATIONS)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    method: MethodRequest | None = None
    metadata: Metadata | None = None
    data: DataOptions | None = None

    def place_of_hyperparameters(self) -> str:
        """Where those stand that count, for errors."""
        is_in_method = self.method is not None and self.method.hyperparameters() is not None
        return f"method.{self.method.type}.hyperparameters" if self.method and is_in_method else "hyperparameters"

    def method_type(self) -> str:
        return MethodType.SUPERVISED if self.method is None else self.method.type

    def asked_hyperparameters(self) -> TunedHyperparameters:
        """Those of `method` where both are there."""
        asked = None if self.method is None else self.method.hyperparameters()
        if asked is not None:
            return asked
        deprecated = self.hyperparameters or Hyperparameters()
        return hyperparameters_of(self.method_type()).model_validate(deprecated.model_dump(exclude_unset=True))


class JobError(BaseModel):
    """OpenAI: FineTuningJob.error."""

    code: str
    message: str
    param: str | None


class ImportedMethod(BaseModel):
    """OpenAI: FineTuneMethod, of a job that was run there by another method than ours. Holds what is told of it."""

    model_config = ConfigDict(extra="allow")

    type: Literal["dpo", "reinforcement"]


class FineTuningJob(BaseModel):
    """OpenAI: FineTuningJob."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int  # unix seconds, as are the other times
    error: JobError | None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: JobHyperparameters
    model: str  # as the client named it
    organization_id: str
    result_files: list[str]
    status: JobStatus
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    integrations: list[Any]
    seed: int
    estimated_finish: int | None
    method: Method | ImportedMethod
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    usage_metrics: None = None
    shared_with_openai: Literal[False] = False
    eval_id: None = None

    @classmethod
    def from_row(cls, row: JobRow, organization_id: str) -> Self:
        imported = row.imported or {}
        return cls(
            id=row.id,
            created_at=row.created_at,
            error=_error(row),
            fine_tuned_model=row.fine_tuned_model,
            finished_at=row.finished_at,
            hyperparameters=JobHyperparameters.model_validate(row.hyperparameters or row.requested_hyperparameters),
            model=row.requested_model,
            organization_id=imported.get("organization_id", organization_id),
            result_files=imported.get("result_files", [row.result_file] if row.result_file else []),
            status=row.status,
            trained_tokens=row.trained_tokens,
            training_file=row.training_file,
            validation_file=row.validation_file,
            integrations=row.integrations or [],
            seed=row.seed,
            estimated_finish=row.estimated_finish,
            method=_method(row),
            metadata=row.job_metadata,
            user_provided_suffix=row.user_provided_suffix,
        )


class ListJobsResponse(BaseModel):
    """OpenAI: ListPaginatedFineTuningJobsResponse."""

    object: Literal["list"] = "list"
    data: list[FineTuningJob]
    has_more: bool


class FineTuningJobEvent(BaseModel):
    """OpenAI: FineTuningJobEvent."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: EventLevel
    message: str
    type: EventType
    data: dict[str, Any] | None

    @classmethod
    def from_row(cls, row: JobEventRow) -> Self:
        return cls(
            id=row.id, created_at=row.created_at, level=row.level, message=row.message, type=row.type, data=row.data
        )


class ListEventsResponse(BaseModel):
    """OpenAI: ListFineTuningJobEventsResponse."""

    object: Literal["list"] = "list"
    data: list[FineTuningJobEvent]
    has_more: bool


class FineTuningJobCheckpoint(BaseModel):
    """OpenAI: FineTuningJobCheckpoint."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]  # step and those of the losses and accuracies that were measured
    fine_tuning_job_id: str

    @classmethod
    def from_row(cls, row: CheckpointRow) -> Self:
        return cls(
            id=row.id,
            created_at=row.created_at,
            fine_tuned_model_checkpoint=row.model_name,
            step_number=row.step,
            metrics={"step": row.step} | {name: value for name, value in row.metrics.items() if value is not None},
            fine_tuning_job_id=row.job_id,
        )


class ListCheckpointsResponse(BaseModel):
    """OpenAI: ListFineTuningJobCheckpointsResponse."""

    object: Literal["list"] = "list"
    data: list[FineTuningJobCheckpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class JobReport(BaseModel):
    """Ours: what is known of a job beyond OpenAI's object. Each part is null until there is one."""

    object: Literal["fine_tuning.job.report"] = "fine_tuning.job.report"
    fine_tuning_job_id: str
    data: DataReport | None
    estimate: dict[str, Any] | None
    measured: dict[str, Any] | None

    @classmethod
    def from_row(cls, row: JobReportRow) -> Self:
        return cls(
            fine_tuning_job_id=row.job_id,
            data=None if row.data_gate is None else DataReport.model_validate(row.data_gate),
            estimate=row.estimate,
            measured=row.measured,
        )


def _method(row: JobRow) -> Method | ImportedMethod:
    if row.imported is not None and row.method != MethodType.SUPERVISED:
        return ImportedMethod.model_validate(row.imported.get("method", {"type": row.method}))
    return Method.of(row.method, row.hyperparameters or row.requested_hyperparameters)


def _error(row: JobRow) -> JobError | None:
    if row.error_code is None:
        return None
    return JobError(code=row.error_code, message=row.error_message or "", param=row.error_param)
