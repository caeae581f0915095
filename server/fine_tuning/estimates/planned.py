"""The plan of a job's memory, as its row keeps it."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from server.db.tables import JobRow
from trainer.contract.spec import MemoryPlan


class Planned(BaseModel):
    """How the job is made to fit, and what it was let in with."""

    model_config = ConfigDict(frozen=True)

    memory: MemoryPlan
    needed_bytes: int = 0  # 0: not known
    longest_tokens: int = 1  # of an example, after cutting


# of a job that was queued before there were plans
_UNPLANNED = Planned(memory=MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None))


def planned_of(job: JobRow) -> Planned:
    planned = (job.training_settings or {}).get("planned")
    return _UNPLANNED if planned is None else Planned.model_validate(planned)


def keep_planned(job: JobRow, planned: Planned) -> None:
    """Write it into the row, whose other settings stay."""
    settings: dict[str, Any] = job.training_settings or {}
    job.training_settings = {**settings, "planned": planned.model_dump(mode="json")}
