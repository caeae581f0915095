"""Batches of requests."""

from typing import Any

from sqlalchemy import JSON, Column, Index, text
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import BatchStatus

_UNFINISHED = "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"


class BatchRow(ProjectOwned, table=True):
    """A file of requests, and how far they are. All times are unix seconds."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("ix_batch_project_id_seq", "project_id", "seq"),
        Index("ix_batch_unfinished", "seq", sqlite_where=text(_UNFINISHED)),
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with `seq`, the order of its lists
    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)  # order of creation
    key_id: str  # of the API key that made it, for which its answers are counted
    status: BatchStatus = Field(default=BatchStatus.VALIDATING, sa_type=words(BatchStatus))
    endpoint: str
    input_file_id: str
    completion_window: str
    batch_metadata: dict[str, str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    output_expires_after_s: int | None = None  # None: as files of batches do
    model: str | None = None  # if all its requests name the same
    # schemas.BatchError, of a batch that failed
    errors: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    output_file_id: str | None = None
    error_file_id: str | None = None

    created_at: int
    expires_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    # what its requests came to, of which the results file is the truth
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0  # of the input's
    output_tokens: int = 0
    reasoning_tokens: int = 0  # of the output's
