"""Models on the wire."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import ModelAliasRow


class Model(BaseModel):
    """OpenAI: Model."""

    id: str
    object: Literal["model"] = "model"
    created: int  # unix seconds
    owned_by: str
    shutdown_date: date | None


class ListModelsResponse(BaseModel):
    """OpenAI: ListModelsResponse."""

    object: Literal["list"] = "list"
    data: list[Model]


class DeleteModelResponse(BaseModel):
    """OpenAI: DeleteModelResponse."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class SetModelAliasRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: Annotated[str, Field(min_length=1, max_length=512)]


class ModelAlias(BaseModel):
    id: str  # the name
    object: Literal["model_alias"] = "model_alias"
    created_at: int  # unix seconds
    target: str

    @classmethod
    def from_row(cls, row: ModelAliasRow) -> "ModelAlias":
        return cls(id=row.name, created_at=row.created_at, target=row.target)


class ListModelAliasesResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelAlias]


class DeleteModelAliasResponse(BaseModel):
    id: str
    object: Literal["model_alias"] = "model_alias"
    deleted: Literal[True] = True
