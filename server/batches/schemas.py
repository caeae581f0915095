"""Batches on the wire."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import BatchRow
from server.vocabulary import BatchStatus

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class OutputExpiresAfter(BaseModel):
    """OpenAI: BatchFileExpirationAfter. From the creation of the files on."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2592000)]


class CreateBatchRequest(BaseModel):
    """OpenAI: CreateBatchRequest."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    endpoint: Annotated[str, Field(description="One of the routes that answer requests, as `/v1/chat/completions`.")]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None


class BatchError(BaseModel):
    """OpenAI: BatchError."""

    code: str
    message: str
    param: str | None
    line: int | None  # from 1


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchRequestCounts(BaseModel):
    """OpenAI: BatchRequestCounts."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    cached_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class BatchUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def from_row(cls, row: BatchRow) -> Self:
        return cls(
            input_tokens=row.input_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=row.cached_tokens),
            output_tokens=row.output_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=row.reasoning_tokens),
            total_tokens=row.input_tokens + row.output_tokens,
        )


class Batch(BaseModel):
    """OpenAI: Batch. Times are unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchRequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def from_row(cls, row: BatchRow) -> Self:
        errors = [BatchError.model_validate(error) for error in row.errors or ()]
        return cls(
            id=row.id,
            endpoint=row.endpoint,
            model=row.model,
            errors=BatchErrors(data=errors) if errors else None,
            input_file_id=row.input_file_id,
            completion_window=row.completion_window,
            status=row.status,
            output_file_id=row.output_file_id,
            error_file_id=row.error_file_id,
            created_at=row.created_at,
            in_progress_at=row.in_progress_at,
            expires_at=row.expires_at,
            finalizing_at=row.finalizing_at,
            completed_at=row.completed_at,
            failed_at=row.failed_at,
            expired_at=row.expired_at,
            cancelling_at=row.cancelling_at,
            cancelled_at=row.cancelled_at,
            request_counts=BatchRequestCounts(total=row.total, completed=row.completed, failed=row.failed),
            usage=BatchUsage.from_row(row),
            metadata=row.batch_metadata,
        )


class ListBatchesResponse(BaseModel):
    """OpenAI: ListBatchesResponse."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
