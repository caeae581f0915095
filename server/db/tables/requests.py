"""Requests that are remembered, so that each has its effect once."""

from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned


class RememberedRequestRow(ProjectOwned, table=True):
    """A request that made something, so that a repetition of it makes nothing more."""

    __tablename__ = "remembered_request"
    __table_args__ = (UniqueConstraint("project_id", "idempotency_key"),)

    id: int | None = Field(default=None, primary_key=True)
    key_id: str  # the API key that asked
    operation: str  # OpenAI's operation id
    fingerprint: str = Field(index=True)  # sha256 of what was asked, hexadecimal
    idempotency_key: str | None = None
    object_id: str | None = None  # what it made
    answer_status: int | None = None  # kept for requests with an idempotency key
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    is_original_seen: bool = True  # False: a retry came first, and the original may still arrive
    last_retry: int = 0  # the highest count of tries, by the client, that this one has answered
    created_at: float = Field(index=True)  # unix seconds
