"""Uploads on the wire."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import FileRow, UploadPartRow, UploadRow
from server.files.schemas import OpenAIFile
from server.uploads.rules import status_at
from server.vocabulary import FilePurpose, UploadStatus


class _Request(BaseModel):
    """What clients send: no field but these, and no value taken for one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FileExpirationAfter(_Request):
    """OpenAI: FileExpirationAfter."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class CreateUploadRequest(_Request):
    """OpenAI: CreateUploadRequest."""

    bytes: Annotated[int, Field(ge=1)]  # of the whole file
    filename: str
    mime_type: Annotated[str, Field(min_length=1, max_length=255)]
    purpose: Literal["fine-tune", "assistants", "batch", "vision", "user_data", "evals"]
    expires_after: FileExpirationAfter | None = None  # from the completion on


class CompleteUploadRequest(_Request):
    """OpenAI: CompleteUploadRequest."""

    part_ids: list[str]  # in the order of the file
    md5: str | None = None  # of the whole file, hexadecimal


class Upload(BaseModel):
    """OpenAI: Upload."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int  # unix seconds
    expires_at: int
    filename: str
    purpose: FilePurpose
    status: UploadStatus
    file: OpenAIFile | None

    @classmethod
    def from_row(cls, row: UploadRow, file: FileRow | None, *, now: float) -> Self:
        return cls(
            id=row.id,
            bytes=row.bytes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            filename=row.filename,
            purpose=row.purpose,
            status=status_at(row, now),
            file=None if file is None else OpenAIFile.from_row(file),
        )


class UploadPart(BaseModel):
    """OpenAI: UploadPart."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int  # unix seconds
    upload_id: str

    @classmethod
    def from_row(cls, row: UploadPartRow) -> Self:
        return cls(id=row.id, created_at=row.created_at, upload_id=row.upload_id)
