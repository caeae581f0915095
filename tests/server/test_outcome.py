"""Which checkpoints are kept and where the job's model comes from, by table; and whole lives of jobs with patience."""

from typing import Any

import pytest

from server.db.tables import JobRow
from server.fine_tuning.publishing.outcome import is_for_clients, result_events, result_step, steps_to_keep
from server.launchers.in_memory import InMemoryLauncher
from server.vocabulary import EventType, JobStatus
from tests.job_rig import TEN_STEPS, MakeRig, Rig
from tests.played_runs import PlayedTrainer
from trainer.contract.events import BestCheckpoint, CheckpointSaved, Metrics, Succeeded


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ({}, set()),
        ({2: None, 4: None}, {2, 4}),
        ({2: None, 4: None, 6: None, 8: None}, {4, 6, 8}),
        ({2: 1.0, 4: 2.0, 6: 3.0, 8: 4.0, 10: 5.0}, {2, 6, 8, 10}),
        ({2: 5.0, 4: 2.0, 6: 3.0, 8: 1.0, 10: 5.0}, {6, 8, 10}),  # the best is among the newest
        ({2: 1.0, 4: 1.0, 6: 1.0, 8: 1.0, 10: 1.0}, {2, 6, 8, 10}),  # of equal ones the first
        ({2: 2.0, 3: None, 4: 1.0, 5: None, 6: None, 7: None}, {4, 5, 6, 7}),  # a pause measures nothing
    ],
)
def test_the_newest_three_and_the_best_are_kept(losses: dict[int, float | None], kept: set[int]) -> None:
    assert steps_to_keep(losses) == kept


@pytest.mark.parametrize(
    ("epoch", "patience", "is_best", "expected"),
    [
        (None, None, False, False),  # serves to resume only
        (None, 2, False, False),
        (1, None, False, True),
        (1, None, True, True),
        (1, 2, True, True),  # a later one may be better, and this one may be the job's model; nobody knows yet
        (3, None, False, False),  # the last epoch's is the job's model
        (3, None, True, False),
        (3, 2, True, False),
        (3, 2, False, True),  # an earlier one is the job's model
    ],
)
def test_a_checkpoint_is_a_model_of_its_own_unless_it_is_the_jobs(
    epoch: int | None, patience: int | None, is_best: bool, expected: bool
) -> None:
    metrics = Metrics(train_loss=1.0, train_mean_token_accuracy=0.5)
    saved = CheckpointSaved(seq=0, at=0, step=4, epoch=epoch, directory="x", metrics=metrics, is_best=is_best)
    assert is_for_clients(saved, n_epochs=3, patience=patience) == expected


def succeeded(**facts: Any) -> Succeeded:
    return Succeeded(seq=0, at=0, step=8, trained_tokens=9, adapter="adapter", **facts)


def test_without_patience_nothing_is_said_and_the_model_is_the_last_steps() -> None:
    assert result_events(succeeded(), total_steps=8) == []
    assert result_step(succeeded()) == 8


@pytest.mark.parametrize("stopped_early", [False, True])
def test_with_patience_step_and_loss_of_the_model_are_said(stopped_early: bool) -> None:
    best = BestCheckpoint(step=4, full_valid_loss=1.23456, evaluations_since=2)
    result = succeeded(best=best, stopped_early=stopped_early)
    early = "Training stopped early after step 8 of 20: the full validation loss has not improved in 2 evaluation(s)"
    model = "The model is the checkpoint of step 4, whose full validation loss is the lowest: 1.2346"
    assert [event.message for event in result_events(result, total_steps=20)] == [early] * stopped_early + [model]
    assert result_step(result) == 4


def patient_job(rig: Rig, patience: int = 2) -> JobRow:
    return rig.make_job(requested_hyperparameters={**TEN_STEPS, "early_stopping_patience": patience})


def rig_of(make_rig: MakeRig, *losses: float, faults: Any = None) -> Rig:
    return make_rig(InMemoryLauncher(PlayedTrainer(faults or {}, full_valid_losses=losses)))


def test_a_job_that_stops_early_succeeds_with_its_best_checkpoint(make_rig: MakeRig) -> None:
    rig = rig_of(make_rig, 2.0, 1.0, 1.5, 1.2)
    job = patient_job(rig)
    ended = rig.finish(job)

    assert (ended.status, ended.estimated_finish, ended.total_steps) == (JobStatus.SUCCEEDED, None, 10)
    assert ended.trained_tokens == 20 * 8
    assert rig.metrics_steps(job) == list(range(1, 9))
    assert rig.messages(job)[-4:] == [
        "Training stopped early after step 8 of 10: the full validation loss has not improved in 2 evaluation(s)",
        "The model is the checkpoint of step 4, whose full validation loss is the lowest: 1.0000",
        f"New fine-tuned model created: {ended.fine_tuned_model}",
        "The job has successfully completed",
    ]
    listed = {row.step: row for row in rig.checkpoints()}
    assert set(listed) == {4, 6, 8}
    assert listed[4].model_name == ended.fine_tuned_model
    assert listed[4].metrics["full_valid_loss"] == 1.0
    assert listed[8].model_name != ended.fine_tuned_model


def test_the_best_checkpoint_is_listed_beside_the_last_three(make_rig: MakeRig) -> None:
    rig = rig_of(make_rig, 1.0, 2.0, 3.0, 4.0, 5.0)
    ended = rig.finish(rig.make_long_job())
    rig.work_until(lambda: len(rig.adapters()) == 4)

    assert [row.step for row in rig.checkpoints()] == [2, 6, 8, 10]
    assert rig.checkpoints()[-1].model_name == ended.fine_tuned_model
    assert {model.step for model in rig.models() if model.deleted_at is not None} == {4}


def test_with_patience_the_last_epochs_checkpoint_is_a_model_beside_the_jobs(make_rig: MakeRig) -> None:
    rig = rig_of(make_rig, 1.0, 2.0, 3.0, 4.0, 5.0)
    job = patient_job(rig, patience=9)
    ended = rig.finish(job)

    assert not any("stopped early" in message for message in rig.messages(job))
    listed = {row.step: row.model_name for row in rig.checkpoints()}
    assert set(listed) == {2, 6, 8, 10}
    assert listed[2] == ended.fine_tuned_model
    assert listed[10].endswith(":ckpt-step-10")


def test_with_patience_the_last_step_can_be_the_best(make_rig: MakeRig) -> None:
    rig = rig_of(make_rig, 5.0, 4.0, 3.0, 2.0, 1.0)
    job = patient_job(rig)
    ended = rig.finish(job)

    listed = {row.step: row.model_name for row in rig.checkpoints()}
    assert set(listed) == {6, 8, 10}
    assert listed[10] == ended.fine_tuned_model
    assert "The model is the checkpoint of step 10, whose full validation loss is the lowest: 1.0000" in (
        rig.messages(job)
    )


def test_a_crash_after_the_early_stop_changes_nothing_that_is_said(make_rig: MakeRig) -> None:
    """The run stops by itself after step 8, and dies before it can say so."""
    losses = (2.0, 1.0, 1.5, 1.2)
    rig = rig_of(make_rig, *losses, faults={1: lambda run: run.crash_at(11)})
    job = patient_job(rig)
    ended = rig.finish(job)

    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 2)
    assert rig.metrics_steps(job) == list(range(1, 9))
    said = [event.message for event in rig.events(job) if event.type == EventType.MESSAGE]
    assert sum("stopped early" in message for message in said) == 1
    assert sum("The model is the checkpoint of step 4" in message for message in said) == 1
    assert {row.step for row in rig.checkpoints()} == {4, 6, 8}
