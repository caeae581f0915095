"""Models on the wire."""

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """OpenAI: Model."""

    id: str
    object: Literal["model"] = "model"
    created: int  # unix seconds
    owned_by: str


class ListModelsResponse(BaseModel):
    """OpenAI: ListModelsResponse."""

    object: Literal["list"] = "list"
    data: list[Model]


class DeleteModelResponse(BaseModel):
    """OpenAI: DeleteModelResponse."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
