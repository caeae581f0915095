"""Real trainings of the demo model: the sound one is left in peace, and what is wrong with the others is named."""

from pathlib import Path
from typing import Any

import pytest
from trainer_runs import ROOT, events, progress, start

from examples.support_desk_task import build_task, training_file
from server.fine_tuning.diagnoses.course import RunFacts
from server.fine_tuning.diagnoses.finding import Diagnosis
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve
from tests.curves import findings_of
from trainer.contract.events import Failed, FailureCode, Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, LoraSettings, MemoryPlan, SupervisedMethod, TrainingSpec

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

DEMO = ROOT / "examples" / "demo_model"
DEMO_PARAMETERS = 4_000_000


def train(root: Path, *, n_examples: int, n_validation: int, **asked: Any) -> tuple[RunDirectory, RunFacts]:
    """Train on the quickstart's task, with the hyperparameters a client asks for."""
    root.mkdir()
    run = RunDirectory(root)
    task = build_task(1, n_training=n_examples, n_validation=n_validation, n_held_out=0)
    run.training_file.write_bytes(training_file(task.training))
    run.validation_file.write_bytes(training_file(task.validation))
    numbers = resolve(asked, DatasetStats(n_examples), BaseModelInfo(DEMO_PARAMETERS))
    spec = TrainingSpec(
        job_id="ftjob-test",
        attempt=1,
        base_model=BaseModelSource(source=str(DEMO)),
        method=SupervisedMethod(
            n_epochs=numbers.n_epochs,
            batch_size=numbers.batch_size,
            learning_rate=numbers.learning_rate,
            warmup_ratio=numbers.warmup_ratio,
            weight_decay=numbers.weight_decay,
            max_grad_norm=numbers.max_grad_norm,
        ),
        lora=LoraSettings(rank=16, alpha=32, dropout=0.0, target_modules="all-linear"),
        seed=1,
        context_length_tokens=256,
        checkpoint_every_steps=0,
        threads=1,
        memory=MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=None),
    )
    run.write_spec(spec)
    start(run).wait(timeout=250)
    total_steps = numbers.total_steps(n_examples)
    facts = RunFacts(total_steps, numbers.n_epochs, n_examples, numbers.batch_size, numbers.max_grad_norm, n_validation)
    return run, facts


def said(run: RunDirectory, facts: RunFacts) -> set[Diagnosis]:
    return set(findings_of(progress(run), facts))


def test_nothing_is_said_of_the_quickstart(tmp_path: Path) -> None:
    run, facts = train(tmp_path / "run", n_examples=120, n_validation=20, batch_size=8, n_epochs=2)
    assert isinstance(events(run)[-1], Succeeded), run.log.read_text()
    assert progress(run)[-1].metrics.train_mean_token_accuracy > 0.9
    assert said(run, facts) == set()


def test_a_learning_rate_far_too_high_is_called_too_hot(tmp_path: Path) -> None:
    run, facts = train(
        tmp_path / "run", n_examples=100, n_validation=4, batch_size=4, n_epochs=1, learning_rate_multiplier=60.0
    )
    last = events(run)[-1]
    if isinstance(last, Failed):
        assert last.code == FailureCode.LOSS_NOT_FINITE
    else:
        assert said(run, facts) == {Diagnosis.LEARNING_RATE_TOO_HOT}


def test_twenty_examples_seen_many_times_are_memorised(tmp_path: Path) -> None:
    run, facts = train(tmp_path / "run", n_examples=20, n_validation=20, batch_size=4, n_epochs=8)
    assert isinstance(events(run)[-1], Succeeded), run.log.read_text()
    found = said(run, facts)
    assert found & {Diagnosis.MEMORISED, Diagnosis.OVERFITTING}
    assert found <= {Diagnosis.MEMORISED, Diagnosis.OVERFITTING}
