"""Fine-tuning jobs, and what is known of their runs."""

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import EventLevel, EventType, JobStatus


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
    status: JobStatus = Field(default=JobStatus.VALIDATING_FILES, sa_type=words(JobStatus), index=True)

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
    level: EventLevel = Field(sa_type=words(EventLevel))
    type: EventType = Field(sa_type=words(EventType))
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
