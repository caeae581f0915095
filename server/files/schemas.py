"""Files on the wire."""

from typing import Literal, Self

from pydantic import BaseModel

from server.db.tables import FileRow
from server.vocabulary import FilePurpose, FileStatus


class OpenAIFile(BaseModel):
    """OpenAI: OpenAIFile."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int  # unix seconds
    expires_at: int | None
    filename: str
    purpose: FilePurpose
    status: FileStatus = FileStatus.PROCESSED
    status_details: str | None = None

    @classmethod
    def from_row(cls, row: FileRow) -> Self:
        return cls(
            id=row.id,
            bytes=row.bytes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            filename=row.filename,
            purpose=row.purpose,
        )


class ListFilesResponse(BaseModel):
    """OpenAI: ListFilesResponse."""

    object: Literal["list"] = "list"
    data: list[OpenAIFile]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeleteFileResponse(BaseModel):
    """OpenAI: DeleteFileResponse."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
