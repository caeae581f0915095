"""Projects, their keys, and what says that either has changed."""

from sqlmodel import Field, SQLModel


class ProjectRow(SQLModel, table=True):
    __tablename__ = "project"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    organization_id: str  # OpenAI's `organization_id` of a job
    slug: str  # the third segment of `ft:` names
    created_at: int
    wandb_api_key: str | None = None  # of the project's own account
    # None: the limit of the settings; 0: none
    requests_per_minute: int | None = None  # to each base model
    tokens_per_minute: int | None = None  # likewise
    max_concurrent_answers: int | None = None


class ApiKeyRow(SQLModel, table=True):
    """A key, by its hash only. Keys set in the environment have no row."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    sha256: str = Field(unique=True)
    hint: str  # first characters and last four, for humans
    is_admin: bool = False
    created_at: int
    revoked_at: int | None = None


class AccessVersionRow(SQLModel, table=True):
    """One row: how often anything changed that callers and models are found by (access_version.py)."""

    __tablename__ = "access_version"

    id: int = Field(primary_key=True)
    version: int
