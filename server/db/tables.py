"""Every table. A table that belongs to a project inherits `ProjectOwned`, which is what confines it."""

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Enum, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from server.vocabulary import (
    DeliveryStatus,
    EventLevel,
    EventType,
    FilePurpose,
    ImportStage,
    ImportStatus,
    JobStatus,
    UploadStatus,
    WebhookEventType,
)


def _words(vocabulary: type[StrEnum]) -> Enum:
    """A column of words as clients see them; the vocabulary may grow without a migration."""
    return Enum(vocabulary, native_enum=False, length=40, values_callable=lambda words: [word.value for word in words])


class ProjectOwned(SQLModel):
    """Rows that only their project's sessions can see."""

    project_id: str = Field(foreign_key="project.id", index=True)


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


class FileRow(ProjectOwned, table=True):
    """A file whose bytes are complete in the blob store. Its blob's key is its id."""

    __tablename__ = "file"
    __table_args__ = (Index("ix_file_project_id_seq", "project_id", "seq"),)

    project_id: str = Field(foreign_key="project.id")  # indexed with `seq`, the order of its lists
    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)  # order of creation; ties of `created_at` are broken by it
    filename: str
    purpose: FilePurpose = Field(sa_type=_words(FilePurpose))
    bytes: int
    sha256: str
    created_at: int  # unix seconds
    expires_at: int | None = Field(default=None, index=True)


class UploadRow(ProjectOwned, table=True):
    """A file that arrives in parts."""

    __tablename__ = "upload"

    id: str = Field(primary_key=True)
    filename: str
    purpose: FilePurpose = Field(sa_type=_words(FilePurpose))
    mime_type: str
    bytes: int  # of all parts together, as announced
    created_at: int  # unix seconds
    expires_at: int  # of the upload, as long as it is pending
    file_expires_after_s: int | None = None
    status: UploadStatus = Field(default=UploadStatus.PENDING, sa_type=_words(UploadStatus), index=True)
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


class JobRow(ProjectOwned, table=True):
    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_project_id_seq", "project_id", "seq"),
        Index("ix_job_stage", "stage", sqlite_where=text("stage IS NOT NULL")),
    )

    project_id: str = Field(foreign_key="project.id")  # indexed with `seq`, the order of its lists
    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)  # order of creation
    created_at: int
    finished_at: int | None = None
    status: JobStatus = Field(default=JobStatus.VALIDATING_FILES, sa_type=_words(JobStatus), index=True)

    # what was asked
    requested_model: str  # as the client named it; echoed as `model`, and in the `ft:` name
    base_model: str  # the base model's own name in the settings
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None  # as normalised for the name
    user_provided_suffix: str | None = None
    seed: int
    method: str  # MethodType
    requested_hyperparameters: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # "auto" or numbers
    # {"key": "value"} as the client sent it
    job_metadata: dict[str, str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))

    integrations: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    # how the data is to be treated before training, as the client asked (schemas.DataOptions)
    data_options: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    parent_model: str | None = None  # the fine-tuned model whose adapter the training goes on from
    origin: str | None = None  # "openai": copied from there, and never run here
    rerun_of: str | None = None  # the imported job that this one repeats
    # of an imported job, as its origin described it: what no column holds
    imported: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))

    # what it came to
    hyperparameters: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))  # resolved
    # everything of the run that "auto" and the server's rules came to (hyperparameters.ResolvedHyperparameters)
    training_settings: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    n_examples: int | None = None
    total_steps: int | None = None
    trained_tokens: int | None = None
    estimated_finish: int | None = None
    training_tokens_per_s: float | None = None  # of late; padding excluded
    pending_model: str | None = None  # the name the model will have once it has answered
    fine_tuned_model: str | None = None
    result_file: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_param: str | None = None

    # where it is
    fence: int = 0  # +1 at every claim by a worker; a write with a lower one is refused
    attempt: int = 0  # of training; 0: none yet
    crashes: int = 0  # attempts that ended without a terminal event while the service was up
    stage: str | None = None  # where in its status the job is for the worker (fine_tuning/stages.py)
    run_handle: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    events_offset: int = 0  # bytes of the attempt's events.jsonl that are applied
    last_event_seq: int = -1  # of the attempt
    last_step: int = 0  # highest step reported to the client, over all attempts
    started: bool = False  # "Fine-tuning job started" was said
    not_before: float = 0.0  # unix seconds; back-off after a crash
    gpu: int | None = None  # the index of the one it trains on, where trainers have GPUs of their own


class JobReportRow(ProjectOwned, table=True):
    """What is too large for every list of jobs: of the data, of the estimate and of what was measured."""

    __tablename__ = "job_report"

    job_id: str = Field(foreign_key="job.id", primary_key=True)
    data_gate: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    estimate: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    measured: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class JobCourseRow(ProjectOwned, table=True):
    """What a job's metrics come to so far, for its diagnoses; written with the events it was made from."""

    __tablename__ = "job_course"

    job_id: str = Field(foreign_key="job.id", primary_key=True)
    n_validation: int = 0  # examples of the validation file
    # fine_tuning/diagnoses/course.py; its size does not grow with the steps
    course: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    said: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))  # diagnoses, each once


class JobEventRow(ProjectOwned, table=True):
    __tablename__ = "job_event"

    project_id: str = Field(foreign_key="project.id")  # no index: events are found by their job
    seq: int | None = Field(default=None, primary_key=True)  # order of all events
    id: str = Field(unique=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    created_at: int
    level: EventLevel = Field(sa_type=_words(EventLevel))
    type: EventType = Field(sa_type=_words(EventType))
    message: str
    data: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class CheckpointRow(ProjectOwned, table=True):
    """A checkpoint clients can list and use; its weights are the fine-tuned model's of the same name."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("job_id", "step"),)

    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    step: int
    created_at: int
    model_name: str
    metrics: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


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
    status: ImportStatus = Field(default=ImportStatus.IN_PROGRESS, sa_type=_words(ImportStatus), index=True)
    stage: ImportStage = Field(default=ImportStage.WAITING, sa_type=_words(ImportStage))
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


class IntegrationRow(ProjectOwned, table=True):
    """Whether a job's metrics have been passed on to a service outside."""

    __tablename__ = "integration"
    __table_args__ = (UniqueConstraint("job_id", "position"),)

    id: int | None = Field(default=None, primary_key=True)
    job_id: str = Field(foreign_key="job.id", index=True)
    position: int  # in the job's `integrations`
    type: str  # "wandb"
    is_finished: bool = Field(default=False, index=True)  # all of it, or it was given up
    failures: int = 0
    not_before: float = 0.0  # unix seconds; back-off after a failure


class WebhookEndpointRow(ProjectOwned, table=True):
    """Where a project wants to be told of events."""

    __tablename__ = "webhook_endpoint"

    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)
    name: str
    url: str
    event_types: list[str] = Field(sa_column=Column(JSON, nullable=False))
    secret: str  # readable, as it has to sign
    old_secrets: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: int
    updated_at: int


class WebhookDeliveryRow(ProjectOwned, table=True):
    """One event to one endpoint: written with what it tells of, and kept for a while as the log."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index("ix_webhook_delivery_endpoint_id_due_at", "endpoint_id", "due_at"),
        Index("ix_webhook_delivery_endpoint_id_seq", "endpoint_id", "seq"),
    )

    project_id: str = Field(foreign_key="project.id")  # no index: deliveries are found by their endpoint
    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)  # `webhook-id`: the same in every try
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id")
    event_id: str
    event_type: WebhookEventType = Field(sa_type=_words(WebhookEventType))
    object_id: str  # of what the event tells of
    created_at: int  # of the event
    status: DeliveryStatus = Field(default=DeliveryStatus.PENDING, sa_type=_words(DeliveryStatus), index=True)
    due_at: float | None  # unix seconds: when the next try may begin; None: never
    ended_at: float | None = Field(default=None, index=True)
    n_tries: int = 0  # begun; what comes of an earlier one is not written down any more
    tries: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class RememberedRequestRow(ProjectOwned, table=True):
    """A request that made something, so that a repetition of it makes nothing more."""

    __tablename__ = "remembered_request"
    __table_args__ = (UniqueConstraint("project_id", "idempotency_key"),)

    id: int | None = Field(default=None, primary_key=True)
    key_id: str  # the API key that asked
    operation: str  # OpenAI's operation id
    fingerprint: str = Field(index=True)  # sha256 of what was asked, hexadecimal
    idempotency_key: str | None = None
    object_id: str | None = None  # what it made
    answer_status: int | None = None  # kept for requests with an idempotency key
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    is_original_seen: bool = True  # False: a retry came first, and the original may still arrive
    last_retry: int = 0  # the highest count of tries, by the client, that this one has answered
    created_at: float = Field(index=True)  # unix seconds


class AccessVersionRow(SQLModel, table=True):
    """One row: how often anything changed that callers and models are found by (access_version.py)."""

    __tablename__ = "access_version"

    id: int = Field(primary_key=True)
    version: int


class EngineRow(SQLModel, table=True):
    """How the engine of a base model, or of a full one, stands; written by the parent, which starts and stops it."""

    __tablename__ = "engine"

    base_model: str = Field(primary_key=True)
    state: str  # placement.facts.EngineState
    state_since: float  # unix seconds
    why: str | None = None  # placement.facts.Why
    detail: str | None = None  # for the operator
    deaths: int = 0  # in a row, since it was last ready
    start_s: float | None = None  # what its last start took, from the start of its process until it answered


class EngineDemandRow(SQLModel, table=True):
    """What one API process is asked of an engine. A row that is not refreshed is of a process that is gone."""

    __tablename__ = "engine_demand"

    base_model: str = Field(primary_key=True)
    reporter: str = Field(primary_key=True)
    asked_at: float  # unix seconds; the last request
    waiting: int = 0
    waiting_since: float = 0.0
    active: int = 0
    reported_at: float


class DeviceTurnRow(SQLModel, table=True):
    """Whose turn it is to have the device, where engines and trainers have it in turns. One row."""

    __tablename__ = "device_turn"

    id: int = Field(default=1, primary_key=True)
    holder: str  # placement.facts.Holder
    since: float  # unix seconds
    used: bool = False


class UsageRow(ProjectOwned, table=True):
    """What was used in a minute, by project, key and model."""

    __tablename__ = "usage"

    project_id: str = Field(foreign_key="project.id", primary_key=True)
    key_id: str = Field(primary_key=True)  # of the API key; one of the settings has a name in its place
    model: str = Field(primary_key=True)  # as clients asked for it
    base_model: str = Field(primary_key=True)
    minute: int = Field(primary_key=True, index=True)  # unix seconds of its beginning
    requests: int
    finished: int  # of the requests; the others are cut, or under way
    prompt_tokens: int
    cached_tokens: int  # of the prompt's
    completion_tokens: int


class UsageJournalRow(SQLModel, table=True):
    """How far a journal of usage is in the table."""

    __tablename__ = "usage_journal"

    name: str = Field(primary_key=True)  # of its file
    position: int  # bytes
