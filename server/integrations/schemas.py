"""Where a job's metrics are passed on to, on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INTEGRATIONS = 5  # of a job: OpenAI's number


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class WandbSettings(_Request):
    """OpenAI: CreateFineTuningJobRequest.integrations.wandb; the bounds are those of Weights & Biases."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None  # shown for the run; None: the job's id
    entity: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=50)] | None = None


class IntegrationRequest(_Request):
    """OpenAI: FineTuningIntegration."""

    type: Literal["wandb"]
    wandb: WandbSettings
