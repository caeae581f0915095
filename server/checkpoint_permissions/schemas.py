"""Checkpoint permissions on the wire."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import CheckpointPermissionRow


class CreateFineTuningCheckpointPermissionRequest(BaseModel):
    """OpenAI: CreateFineTuningCheckpointPermissionRequest."""

    model_config = ConfigDict(extra="forbid")

    project_ids: Annotated[list[str], Field(min_length=1, max_length=100)]


class FineTuningCheckpointPermission(BaseModel):
    """OpenAI: FineTuningCheckpointPermission."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int  # unix seconds
    project_id: str  # of the project that may use the checkpoint

    @classmethod
    def from_row(cls, row: CheckpointPermissionRow) -> Self:
        return cls(id=row.id, created_at=row.created_at, project_id=row.allowed_project_id)


class ListFineTuningCheckpointPermissionResponse(BaseModel):
    """OpenAI: ListFineTuningCheckpointPermissionResponse."""

    object: Literal["list"] = "list"
    data: list[FineTuningCheckpointPermission]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def from_rows(cls, rows: Sequence[CheckpointPermissionRow], *, has_more: bool) -> Self:
        data = [FineTuningCheckpointPermission.from_row(row) for row in rows]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)


class DeleteFineTuningCheckpointPermissionResponse(BaseModel):
    """OpenAI: DeleteFineTuningCheckpointPermissionResponse."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: Literal[True] = True
