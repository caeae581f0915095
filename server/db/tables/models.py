"""Fine-tuned models: trained here or brought, and who may use them under what name."""

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import ImportStage, ImportStatus


class FineTunedModelRow(ProjectOwned, table=True):
    """A servable name. Names are unique per weights and never reused, so a deleted one keeps its row."""

    __tablename__ = "fine_tuned_model"
    __table_args__ = (
        Index("ix_fine_tuned_model_project_id_seq", "project_id", "seq"),
        Index("ix_fine_tuned_model_is_full", "is_full", sqlite_where=text("is_full")),
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with `seq`, the order of its lists
    name: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)
    job_id: str | None = Field(default=None, foreign_key="job.id", index=True)  # None: the adapter was imported
    base_model: str  # the base model's own name in the settings
    directory: str  # of the adapter or the whole model, relative to the home directory's adapters/
    rank: int  # 0: it is no adapter
    is_full: bool = False  # all of a model's weights, served by an engine of their own
    # of the weights as they were published; None: an older version published them, and they were gone since
    sha256: str | None = None
    created_at: int
    step: int | None = None  # of a checkpoint; None: the job's final model
    deleted_at: int | None = Field(default=None, index=True)


class ModelImportRow(ProjectOwned, table=True):
    """An adapter that was made elsewhere, on its way to being a fine-tuned model. Its files lie under its id."""

    __tablename__ = "model_import"

    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)
    created_at: int
    finished_at: int | None = None
    status: ImportStatus = Field(default=ImportStatus.IN_PROGRESS, sa_type=words(ImportStatus), index=True)
    stage: ImportStage = Field(default=ImportStage.WAITING, sa_type=words(ImportStage))
    needed_bytes: int = 0  # of main memory, by the trainer that looks at it; 0: not known
    base_model: str  # the base model's own name in the settings
    model_name: str  # that it will have
    rank: int
    sha256: str  # of its weights
    error_code: str | None = None
    error_message: str | None = None


class ModelAliasRow(ProjectOwned, table=True):
    """A name that a project's code uses for one of its models, such as an old `ft:` name."""

    __tablename__ = "model_alias"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    target: str  # a fine-tuned model or a base model
    created_at: int


class CheckpointPermissionRow(ProjectOwned, table=True):
    """Another project's permission to use a model of this one."""

    __tablename__ = "checkpoint_permission"
    __table_args__ = (UniqueConstraint("model_name", "allowed_project_id"),)

    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)
    model_name: str = Field(foreign_key="fine_tuned_model.name", index=True)
    allowed_project_id: str = Field(foreign_key="project.id", index=True)
    created_at: int
