"""Files, and uploads that become one."""

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import FilePurpose, UploadStatus


class FileRow(ProjectOwned, table=True):
    """A file whose bytes are complete in the blob store. Its blob's key is its id."""

    __tablename__ = "file"
    __table_args__ = (Index("ix_file_project_id_seq", "project_id", "seq"),)

    project_id: str = Field(foreign_key="project.id")  # indexed with `seq`, the order of its lists
    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)  # order of creation; ties of `created_at` are broken by it
    filename: str
    purpose: FilePurpose = Field(sa_type=words(FilePurpose))
    bytes: int
    sha256: str
    created_at: int  # unix seconds
    expires_at: int | None = Field(default=None, index=True)


class UploadRow(ProjectOwned, table=True):
    """A file that arrives in parts."""

    __tablename__ = "upload"

    id: str = Field(primary_key=True)
    filename: str
    purpose: FilePurpose = Field(sa_type=words(FilePurpose))
    mime_type: str
    bytes: int  # of all parts together, as announced
    created_at: int  # unix seconds
    expires_at: int  # of the upload, as long as it is pending
    file_expires_after_s: int | None = None
    status: UploadStatus = Field(default=UploadStatus.PENDING, sa_type=words(UploadStatus), index=True)
    file_id: str | None = None
    part_ids: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))  # in their final order


class UploadPartRow(ProjectOwned, table=True):
    """A part whose bytes are complete in the blob store. Its blob's key is its id."""

    __tablename__ = "upload_part"

    id: str = Field(primary_key=True)
    upload_id: str = Field(foreign_key="upload.id", index=True)
    bytes: int
    sha256: str
    created_at: int
