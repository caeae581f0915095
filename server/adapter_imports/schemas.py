"""Imports of adapters on the wire."""

from typing import Literal, Self

from pydantic import BaseModel

from server.db.tables import ModelImportRow
from server.vocabulary import ImportStatus


class ModelImportError(BaseModel):
    code: str
    message: str


class ModelImport(BaseModel):
    id: str
    object: Literal["model.import"] = "model.import"
    created_at: int  # unix seconds
    finished_at: int | None
    status: ImportStatus
    base_model: str
    rank: int
    sha256: str  # of the weights
    fine_tuned_model: str | None  # once it has succeeded
    error: ModelImportError | None

    @classmethod
    def from_row(cls, row: ModelImportRow) -> Self:
        is_failed = row.status is ImportStatus.FAILED
        return cls(
            id=row.id,
            created_at=row.created_at,
            finished_at=row.finished_at,
            status=row.status,
            base_model=row.base_model,
            rank=row.rank,
            sha256=row.sha256,
            fine_tuned_model=row.model_name if row.status is ImportStatus.SUCCEEDED else None,
            error=ModelImportError(code=row.error_code or "", message=row.error_message or "") if is_failed else None,
        )
