"""A pause stops the run, publishes what it has learnt, and is survived by everything."""

from collections.abc import Callable

import pytest

from inference.engine import AdapterRejected, EngineUnavailable
from server.db.tables import JobRow
from server.errors import InvalidRequest
from server.fine_tuning.stages import Stage
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, Lost
from server.vocabulary import JobStatus
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import PlayedRun, PlayedTrainer
from trainer.contract.events import FailureCode


def paused_at(make_rig: MakeRig, fault: Callable[[PlayedRun], Exited | Lost]) -> tuple[Rig, JobRow]:
    """A job that was paused in its first attempt, whose run ended like this; the worker has not acted yet."""
    rig = make_rig(playing({1: fault})[0])
    job = rig.make_long_job()
    rig.work_until(lambda: rig.job(job).stage == Stage.TRAIN)
    rig.pause(job)
    return rig, job


def settle(rig: Rig, job: JobRow) -> JobRow:
    rig.work_until(lambda: rig.job(job).stage is None)
    return rig.job(job)


def snapshots(rig: Rig) -> list[tuple[int, str]]:
    return [(row.step, row.model_name.rsplit(":", 1)[1]) for row in rig.checkpoints()]


def test_what_a_paused_job_has_learnt_is_a_checkpoint_that_answered(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    paused = settle(rig, job)

    assert (paused.status, paused.finished_at, paused.estimated_finish) == (JobStatus.PAUSED, None, None)
    assert (paused.pending_model, paused.run_handle) == (None, None)
    assert snapshots(rig) == [(2, "ckpt-step-2"), (4, "ckpt-step-4"), (5, "ckpt-step-5")]
    (snapshot,) = [model for model in rig.models() if model.step == 5]
    assert rig.gate.verified == [snapshot.name]
    assert (rig.services.settings.adapters / snapshot.directory / "adapter_model.safetensors").is_file()
    assert rig.messages(job)[-1] == f"Checkpoint created at step 5 with Snapshot ID: {snapshot.name}"
    assert "The job was paused" in rig.messages(job)


def test_a_paused_job_costs_the_worker_nothing_and_outlives_it(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    settle(rig, job)
    before = rig.messages(job)
    rig.restart()
    other = rig.make_job()
    assert rig.finish(other).status == JobStatus.SUCCEEDED
    assert (rig.job(job).status, rig.messages(job)) == (JobStatus.PAUSED, before)


def test_a_resumed_job_goes_on_after_its_snapshot_and_reports_each_step_once(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    settle(rig, job)
    rig.resume(job)
    assert rig.job(job).status == JobStatus.QUEUED
    ended = rig.finish(job)

    assert ended.status == JobStatus.SUCCEEDED
    assert rig.metrics_steps(job) == list(range(1, 11))
    assert rig.messages(job).count("Fine-tuning job started") == 1
    assert [row.step for row in rig.checkpoints()] == [6, 8, 10]


def test_a_snapshot_of_a_step_that_was_not_yet_validated_is_known_by_what_comes_of_it(make_rig: MakeRig) -> None:
    losses = [3.0, 1.0, 2.0, 2.0, 2.0]  # of the epochs, the second of which is the best, and listed for that
    faults: dict[int, Callable[[PlayedRun], Exited | Lost]] = {1: lambda run: run.interrupt_while_validating(4)}
    rig = make_rig(InMemoryLauncher(PlayedTrainer(faults, full_valid_losses=losses)))
    job = rig.make_long_job()
    rig.work_until(lambda: rig.job(job).stage == Stage.TRAIN)
    rig.pause(job)
    settle(rig, job)
    assert snapshots(rig) == [(2, "ckpt-step-2"), (4, "ckpt-step-4")]
    (snapshot,) = [row for row in rig.checkpoints() if row.step == 4]
    assert "full_valid_loss" not in snapshot.metrics
    assert rig.metrics_steps(job) == [1, 2, 3]

    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.metrics_steps(job) == list(range(1, 11))
    (kept,) = [row for row in rig.checkpoints() if row.step == 4]
    assert (kept.model_name, kept.metrics["full_valid_loss"]) == (snapshot.model_name, 1.0)
    assert sum(message.startswith("Checkpoint created at step 4 ") for message in rig.messages(job)) == 1


def test_a_job_that_is_resumed_before_its_run_was_stopped_keeps_its_snapshot(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    rig.resume(job)
    rig.work_until(lambda: any(row.step == 5 for row in rig.checkpoints()))
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.metrics_steps(job) == list(range(1, 11))


def test_a_job_can_be_paused_again_before_the_first_pause_is_over(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    rig.resume(job)
    rig.pause(job)
    assert settle(rig, job).status == JobStatus.PAUSED
    assert snapshots(rig)[-1] == (5, "ckpt-step-5")


def test_a_trainer_that_dies_while_it_is_stopped_leaves_its_newest_checkpoint(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.crash_unreported(5))
    assert settle(rig, job).status == JobStatus.PAUSED
    assert snapshots(rig)[-1] == (4, "ckpt-step-4")
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.metrics_steps(job) == list(range(1, 11))


def test_a_job_paused_before_its_first_step_has_no_snapshot_and_starts_afresh(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(0))
    assert settle(rig, job).status == JobStatus.PAUSED
    assert rig.checkpoints() == []
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED


def test_a_queued_job_rests_without_a_run(make_rig: MakeRig) -> None:
    rig = make_rig(max_running_jobs=1)
    job = rig.make_long_job()
    rig.work_until(lambda: rig.job(job).stage == Stage.CHECK)
    rig.work_until(lambda: rig.job(job).status == JobStatus.QUEUED)
    rig.pause(job)
    for _ in range(5):
        rig.tick()
    assert (rig.job(job).status, rig.job(job).attempt) == (JobStatus.PAUSED, 0)
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED


def test_a_pause_that_comes_after_the_last_step_still_ends_in_success(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, PlayedRun.succeed)
    settle(rig, job)
    assert snapshots(rig)[-1] == (10, "ckpt-step-10")
    rig.resume(job)
    ended = rig.finish(job)
    assert ended.status == JobStatus.SUCCEEDED
    assert [(row.step, row.model_name == ended.fine_tuned_model) for row in rig.checkpoints()][-1] == (10, True)


def test_a_run_that_fails_while_it_is_stopped_fails_the_job(make_rig: MakeRig) -> None:
    rig, job = paused_at(
        make_rig, lambda run: run.fail(code=FailureCode.LOSS_NOT_FINITE, message="The loss is not finite.")
    )
    ended = rig.finish(job)
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "loss_not_finite")


def test_a_snapshot_waits_for_an_engine_that_is_away_under_one_name(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    rig.gate.refusals = [EngineUnavailable("starting")] * 3
    settle(rig, job)
    assert rig.adapters() == {model.directory for model in rig.models()}


def test_a_snapshot_that_cannot_be_served_is_named_and_leaves_nothing(make_rig: MakeRig) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    rig.gate.refusals = [AdapterRejected("its files are torn")]
    assert settle(rig, job).status == JobStatus.PAUSED
    assert rig.messages(job)[-1] == "The snapshot of step 5 could not be served: its files are torn"
    assert rig.adapters() == {model.directory for model in rig.models()}


@pytest.mark.parametrize("is_settled", [True, False])
def test_a_paused_job_that_is_cancelled_leaves_nothing_but_its_checkpoints(make_rig: MakeRig, is_settled: bool) -> None:
    rig, job = paused_at(make_rig, lambda run: run.interrupt_at(5))
    if is_settled:
        settle(rig, job)
    rig.cancel(job)
    assert rig.finish(job).status == JobStatus.CANCELLED
    left = {path.name for path in (rig.services.settings.runs / job.id).rglob("*") if path.is_file()}
    assert left <= {"trainer.log"}
    assert rig.adapters() == {model.directory for model in rig.models()}


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        (JobStatus.VALIDATING_FILES, None),
        (JobStatus.PAUSED, None),
        (JobStatus.SUCCEEDED, None),
        (JobStatus.FAILED, None),
        (JobStatus.CANCELLED, None),
        (JobStatus.RUNNING, Stage.PUBLISH),
    ],
)
def test_only_a_job_that_waits_or_trains_can_be_paused(
    make_rig: MakeRig, status: JobStatus, stage: Stage | None
) -> None:
    rig = make_rig()
    job = rig.make_job(status=status, stage=stage)
    with pytest.raises(InvalidRequest, match="Cannot pause a job"):
        rig.pause(job)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.PAUSED])
def test_only_a_paused_job_can_be_resumed(make_rig: MakeRig, status: JobStatus) -> None:
    rig = make_rig()
    job = rig.make_job(status=status)
    with pytest.raises(InvalidRequest, match=f'has status "{status}"'):
        rig.resume(job)
