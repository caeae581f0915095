"""From a job's row to what its run is told."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from server.base_models import BaseModelEntry
from server.db.tables import JobRow
from server.fine_tuning.hyperparameters import ResolvedHyperparameters
from server.fine_tuning.running.training_spec import build, source_of
from trainer.contract.spec import BaseModelSource, LoraSettings, MemoryPlan, SupervisedMethod, TrainingSpec

BASE = BaseModelEntry(name="demo", source="/models/demo", context_length=512)
RESOLVED = ResolvedHyperparameters(
    n_epochs=3,
    batch_size=4,
    learning_rate_multiplier=2.0,
    learning_rate=1e-3,
    packing=True,
    validation_interval_steps=3,
)

OLDER = (
    *("n_epochs", "batch_size", "learning_rate_multiplier", "learning_rate", "lora_rank", "lora_alpha", "lora_dropout"),
    *("warmup_ratio", "weight_decay", "max_grad_norm", "early_stopping_patience"),
)


def job(**columns: Any) -> JobRow:
    row = JobRow(
        id="ftjob-1",
        project_id="proj_1",
        created_at=0,
        requested_model="gpt-4o-mini",
        base_model="demo",
        training_file="file-1",
        seed=7,
        method="supervised",
        requested_hyperparameters={},
        training_settings=asdict(RESOLVED),
        total_steps=60,
        attempt=2,
    )
    for name, value in columns.items():
        setattr(row, name, value)
    return row


def test_a_spec_says_everything_resolved() -> None:
    paths = {"start_from": Path("/runs/1/2/parent"), "resume_from": Path("/runs/1/checkpoints/step_000006")}
    assert build(job(), BASE, threads=3, **paths) == TrainingSpec(
        job_id="ftjob-1",
        attempt=2,
        base_model=BaseModelSource(source="/models/demo"),
        method=SupervisedMethod(
            n_epochs=3,
            batch_size=4,
            learning_rate=1e-3,
            lr_scheduler="cosine",
            warmup_ratio=0.05,
            optimizer="adamw",
            weight_decay=0.01,
            max_grad_norm=1.0,
            validation_interval_steps=3,
        ),
        lora=LoraSettings(rank=16, alpha=32, dropout=0.0, target_modules="all-linear"),
        seed=7,
        context_length_tokens=512,
        checkpoint_every_steps=3,
        packing=True,
        threads=3,
        memory=MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None),
        start_from=Path("/runs/1/2/parent"),
        resume_from=Path("/runs/1/checkpoints/step_000006"),
    )


@pytest.mark.parametrize(("asked", "limit"), [("auto", 512), (64, 64), (512, 512), (2048, 512)])
def test_examples_are_cut_where_the_job_asks_and_never_beyond_the_context(asked: int | str, limit: int) -> None:
    row = job(requested_hyperparameters={"max_seq_length": asked})
    assert build(row, BASE, threads=1, start_from=None, resume_from=None).context_length_tokens == limit


def test_a_job_that_was_queued_by_an_older_version_has_what_was_there_then() -> None:
    older = {name: value for name, value in asdict(RESOLVED).items() if name in OLDER}
    spec = build(job(training_settings=older), BASE, threads=1, start_from=None, resume_from=None)
    assert (spec.packing, spec.method.lr_scheduler, spec.method.optimizer) == (False, "cosine", "adamw")
    assert spec.method.validation_interval_steps is None


def test_the_jobs_own_row_is_not_changed() -> None:
    row = job()
    build(row, BASE, threads=1, start_from=None, resume_from=None)
    assert row.training_settings == asdict(RESOLVED)


@pytest.mark.parametrize(("total_steps", "every"), [(1, 1), (20, 1), (21, 2), (60, 3), (1000, 50), (1001, 51)])
def test_at_most_a_twentieth_of_a_run_is_lost_with_its_process(total_steps: int, every: int) -> None:
    spec = build(job(total_steps=total_steps), BASE, threads=1, start_from=None, resume_from=None)
    assert spec.checkpoint_every_steps == every


@pytest.mark.parametrize("missing", ["training_settings", "total_steps"])
def test_a_job_that_is_not_resolved_has_no_spec(missing: str) -> None:
    with pytest.raises(ValueError, match="not resolved"):
        build(job(**{missing: None}), BASE, threads=1, start_from=None, resume_from=None)


def test_a_base_model_brings_its_revision_and_its_chat_template() -> None:
    template = Path("/templates/chat.jinja")
    entry = BaseModelEntry(name="a", source="org/a", revision="abc", context_length=512, chat_template=template)
    expected = BaseModelSource(source="org/a", revision="abc", chat_template_file=template)
    assert expected == source_of(entry)
