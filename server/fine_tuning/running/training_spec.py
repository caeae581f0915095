"""JobRow → TrainingSpec."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from server.base_models import BaseModelEntry
from server.db.tables import JobRow
from server.fine_tuning.estimates.planned import planned_of
from server.fine_tuning.hyperparameters import sequence_limit
from trainer.contract.spec import (
    ALL_LINEAR,
    BaseModelSource,
    LoraSettings,
    Method,
    ServingLimits,
    Steps,
    TrainingSpec,
    WantedSelection,
)

_DEFAULT_LIMITS = ServingLimits()
_METHOD: TypeAdapter[Method] = TypeAdapter(Method)
_CHECKPOINTS_PER_RUN = 20  # besides those of the epochs: at most 5 % of a run is lost with its process


def build(
    job: JobRow,
    base: BaseModelEntry,
    *,
    threads: int,
    start_from: Path | None,
    resume_from: Path | None,
    serving: ServingLimits = _DEFAULT_LIMITS,
) -> TrainingSpec:
    """Say what the job's current attempt is to do; its hyperparameters have been resolved."""
    if job.training_settings is None or job.total_steps is None:
        raise ValueError("the job's hyperparameters are not resolved")
    settings = job.training_settings
    selection = settings.get("selection")
    return TrainingSpec(
        job_id=job.id,
        attempt=job.attempt,
        base_model=source_of(base),
        method=_method(job, settings),
        lora=None if settings.get("trains_all", False) else _lora(settings),
        serving=serving,
        seed=job.seed,
        context_length_tokens=sequence_limit(job.requested_hyperparameters, base.context_length),
        pii=settings.get("pii", "off"),
        selection=None if selection is None else WantedSelection.model_validate(selection),
        selection_sha256=settings.get("selection_sha256"),
        checkpoint_every_steps=math.ceil(job.total_steps / _CHECKPOINTS_PER_RUN),
        packing=settings.get("packing", False),  # of a job that was queued before it had a word in this, none
        threads=threads,
        memory=planned_of(job).memory,
        start_from=start_from,
        resume_from=resume_from,
    )


def _lora(settings: Mapping[str, Any]) -> LoraSettings:
    return LoraSettings(
        rank=settings["lora_rank"],
        alpha=settings["lora_alpha"],
        dropout=settings["lora_dropout"],
        variant=settings.get("lora_variant", "lora"),
        rslora=settings.get("lora_rslora", False),
        target_modules=settings.get("lora_target_modules", ALL_LINEAR),
    )


def _method(job: JobRow, settings: dict[str, Any]) -> Method:
    steps = {name: settings[name] for name in Steps.model_fields if name in settings}
    return _METHOD.validate_python({"type": job.method, **steps, **settings.get("own", {})})


def source_of(base: BaseModelEntry) -> BaseModelSource:
    return BaseModelSource(source=base.source, revision=base.revision, chat_template_file=base.chat_template)
