"""Responses that are kept, with the items that went into each and came out of it."""

from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import ResponseStatus


class ResponseRow(ProjectOwned, table=True):
    """A response, but for its output."""

    __tablename__ = "response"
    __table_args__ = (
        Index("ix_response_project_id_runner", "project_id", "runner"),
        Index("ix_response_project_id_created_at", "project_id", "created_at", "size_bytes"),
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with `runner`
    id: str = Field(primary_key=True)
    created_at: int = Field(index=True)  # unix seconds
    status: ResponseStatus = Field(sa_type=words(ResponseStatus))
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # OpenAI: Response, without `output`
    previous_id: str | None  # of the response before it, which may be gone
    depth: int  # how many responses its conversation has, with itself
    thread_bytes: int  # of the items of all of them, as JSON
    size_bytes: int  # of this response alone, as JSON
    runner: str | None = Field(default=None, index=True)  # the process that works on it; None: nobody does any more
    asked: bytes | None = None  # the request, as long as somebody works on it
    key_id: str = ""  # that asked, if somebody works on it
    n_runners: int = 0  # how many processes have taken it up


class ResponseItemRow(ProjectOwned, table=True):
    """An item of a response's own input, or of its output."""

    __tablename__ = "response_item"
    __table_args__ = (Index("ix_response_item_project_id_id", "project_id", "id"),)

    project_id: str = Field(foreign_key="project.id")  # indexed with `id`
    response_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    id: str  # an input's may be the client's own, and stand in several responses
    is_output: bool
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
