"""JobRow → TrainingSpec."""

import math
from pathlib import Path

from server.base_models import BaseModelEntry
from server.db.tables import JobRow
from server.fine_tuning.estimates.planned import planned_of
from trainer.contract.spec import (
    ALL_LINEAR,
    BaseModelSource,
    LoraSettings,
    SupervisedMethod,
    TrainingSpec,
    WantedSelection,
)

_CHECKPOINTS_PER_RUN = 20  # besides those of the epochs: at most 5 % of a run is lost with its process


def build(
    job: JobRow,
    base: BaseModelEntry,
    *,
    threads: int,
    packing: bool,
    start_from: Path | None,
    resume_from: Path | None,
) -> TrainingSpec:
    """Say what the job's current attempt is to do; its hyperparameters have been resolved."""
    if job.training_settings is None or job.total_steps is None:
        raise ValueError("the job's hyperparameters are not resolved")
    settings = dict(job.training_settings)
    settings.pop("planned", None)
    lora = LoraSettings(
        rank=settings.pop("lora_rank"),
        alpha=settings.pop("lora_alpha"),
        dropout=settings.pop("lora_dropout"),
        variant=settings.pop("lora_variant", "lora"),
        rslora=settings.pop("lora_rslora", False),
        target_modules=settings.pop("lora_target_modules", ALL_LINEAR),
    )
    settings.pop("learning_rate_multiplier")  # is in the learning rate
    pii = settings.pop("pii", "off")
    selection = settings.pop("selection", None)
    selection_sha256 = settings.pop("selection_sha256", None)
    return TrainingSpec(
        job_id=job.id,
        attempt=job.attempt,
        base_model=source_of(base),
        method=SupervisedMethod(**settings),
        lora=lora,
        seed=job.seed,
        context_length_tokens=base.context_length,
        pii=pii,
        selection=None if selection is None else WantedSelection.model_validate(selection),
        selection_sha256=selection_sha256,
        checkpoint_every_steps=math.ceil(job.total_steps / _CHECKPOINTS_PER_RUN),
        packing=packing,
        threads=threads,
        memory=planned_of(job).memory,
        start_from=start_from,
        resume_from=resume_from,
    )


def source_of(base: BaseModelEntry) -> BaseModelSource:
    return BaseModelSource(source=base.source, revision=base.revision, chat_template_file=base.chat_template)
