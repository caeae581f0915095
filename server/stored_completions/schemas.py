"""Stored completions on the wire. What is stored is given out as it is: the classes are for the document."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import StoredCompletionRow

MAX_PAIRS = 16  # of metadata
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=MAX_PAIRS)
]
JsonObject = dict[str, Any]


class UpdateChatCompletionRequest(BaseModel):
    """OpenAI: the body of updateChatCompletion."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metadata: Metadata | None


class StoredChatCompletion(BaseModel):
    """OpenAI: CreateChatCompletionResponse, with what was asked. Further parameters are there if they were sent."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["chat.completion"]
    created: int  # unix seconds
    model: str
    choices: list[JsonObject]
    usage: JsonObject
    service_tier: str | None
    system_fingerprint: str | None
    request_id: str
    metadata: dict[str, str]
    input_user: str | None  # the request's `user`
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    tools: list[JsonObject] | None
    tool_choice: str | JsonObject | None
    response_format: JsonObject | None


class ListStoredChatCompletions(BaseModel):
    """OpenAI: ChatCompletionList."""

    object: Literal["list"] = "list"
    data: list[StoredChatCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoredMessage(BaseModel):
    """OpenAI: ChatCompletionResponseMessage with `id` and `content_parts`. The other fields are as they were sent."""

    model_config = ConfigDict(extra="allow")

    id: str
    role: str
    name: str | None
    content: str | None
    content_parts: list[JsonObject] | None  # if the content was sent in parts
    refusal: str | None


class ListStoredMessages(BaseModel):
    """OpenAI: ChatCompletionMessageList."""

    object: Literal["list"] = "list"
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedChatCompletion(BaseModel):
    """OpenAI: ChatCompletionDeleted."""

    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: Literal[True] = True


def show_completion(row: StoredCompletionRow) -> JsonObject:
    shown: JsonObject = orjson.loads(row.shown)
    return shown | {"metadata": row.pairs}


def list_answer(objects: Sequence[JsonObject], *, has_more: bool) -> Response:
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return json_answer({"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": has_more})


def json_answer(value: JsonObject) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
