"""Responses as the API document describes them; what is sent is what was kept."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from server.vocabulary import ResponseStatus


class Response(BaseModel):
    """OpenAI: Response."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: ResponseStatus
    model: str
    output: list[dict[str, Any]]


class DeletedResponse(BaseModel):
    """OpenAI: what `deleteResponse` answers."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ResponseItemList(BaseModel):
    """OpenAI: ResponseItemList."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
