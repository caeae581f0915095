"""Chat completions that clients asked to be stored, and the training files that were made of them."""

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned


class StoredCompletionRow(ProjectOwned, table=True):
    """A chat completion with what it was asked. What is read least stands last: it is what may be long."""

    __tablename__ = "stored_completion"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        Index("ix_stored_completion_project_id_created_at_seq", "project_id", "created_at", "seq"),
        {"sqlite_autoincrement": True},  # a number that was deleted never comes again: it may be somebody's cursor
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with the id, and with the order of lists
    seq: int | None = Field(default=None, primary_key=True)
    id: str  # as the answer names itself
    created_at: int  # unix seconds; of the answer
    size_bytes: int  # that it is counted with
    pairs: dict[str, str] = Field(sa_column=Column("metadata", JSON, nullable=False))
    shown: bytes  # the object as clients see it, but for its metadata; JSON
    messages: bytes  # as they were sent; JSON


class StoredCompletionLabelRow(ProjectOwned, table=True):
    """What a completion can be found by: its model, and each pair of its metadata."""

    __tablename__ = "stored_completion_label"
    __table_args__ = (
        Index(
            "ix_stored_completion_label_order",
            *("project_id", "name", "value", "created_at", "completion_seq"),
        ),
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with what is looked for
    completion_seq: int = Field(primary_key=True, foreign_key="stored_completion.seq", ondelete="CASCADE")
    name: str = Field(primary_key=True)  # "model", or "metadata." and the key
    value: str
    created_at: int  # the completion's


class StoredCompletionGoneRow(ProjectOwned, table=True):
    """Where a completion stood that was deleted a while ago: a list that had come to it goes on from there."""

    __tablename__ = "stored_completion_gone"

    project_id: str = Field(primary_key=True, foreign_key="project.id")
    id: str = Field(primary_key=True)
    seq: int
    created_at: int  # the completion's
    deleted_at: int = Field(index=True)


class StoredCompletionTotalRow(ProjectOwned, table=True):
    """What a project's completions come to."""

    __tablename__ = "stored_completion_total"

    project_id: str = Field(primary_key=True, foreign_key="project.id")
    size_bytes: int = 0


class CompletionExportRow(ProjectOwned, table=True):
    """A training file that was made of stored completions, as its maker was told of it."""

    __tablename__ = "completion_export"

    id: str = Field(primary_key=True)
    created_at: int = Field(index=True)
    answer: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
