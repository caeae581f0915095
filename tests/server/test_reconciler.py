"""Whole lives of jobs, with played runs, a clock that is turned by hand, and everything else as it is."""

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from threading import Event, Thread

import pytest
from sqlmodel import select

from inference.engine import AdapterRejected, EngineUnavailable
from server.db.system_session import system_session
from server.db.tables import FileRow, FineTunedModelRow, JobRow
from server.fine_tuning.leases import LeaseLost
from server.fine_tuning.running import stage as training
from server.fine_tuning.stages import Stage
from server.fine_tuning.worker.reconciler import Reconciler
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import (
    Exited,
    LaunchRefused,
    LaunchRequest,
    NoCapacity,
    RunHandle,
    Running,
    RunState,
)
from server.launchers.local_process import LocalProcessLauncher
from server.placement.facts import EngineState, Policy, Resources, Why
from server.placement.repository import placing, write_engine
from server.placement.sizing import EngineSize, Placement
from server.placement.standing import Standing
from server.storage.blob_store import BlobKey
from server.vocabulary import FilePurpose, JobStatus
from tests.factories import make_file
from tests.job_rig import PATIENCE_TICKS, MakeRig, Rig, playing
from tests.played_runs import PlayedRun, PlayedTrainer, failing_report
from trainer.contract.events import FailureCode, Interrupted
from trainer.contract.report import CheckFailure
from trainer.contract.run_directory import read_events


def test_a_job_lives_through_openais_events_to_its_success(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_long_job()
    ended = rig.finish(job)

    assert (ended.status, ended.error_code) == (JobStatus.SUCCEEDED, None)
    names = {model.step: model.name for model in rig.models()}
    steps = []
    for step in range(1, 11):
        steps.append(f"Step {step}/10: training loss={2 / step:.2f}")
        if step in (2, 4, 6, 8):
            steps.append(f"Checkpoint created at step {step} with Snapshot ID: {names[step]}")
    assert rig.messages(job) == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        *steps,
        f"New fine-tuned model created: {names[None]}",
        "The job has successfully completed",
    ]


def test_a_job_that_succeeded_holds_what_it_came_to(make_rig: MakeRig) -> None:
    rig = make_rig()
    ended = rig.finish(rig.make_long_job())

    openais = {"n_epochs": 5, "batch_size": 5, "learning_rate_multiplier": 1.0}
    assert openais.items() <= (ended.hyperparameters or {}).items()
    assert (ended.n_examples, ended.total_steps, ended.trained_tokens) == (10, 10, 200)
    assert (ended.estimated_finish, ended.pending_model, ended.run_handle) == (None, None, None)
    (model,) = [model for model in rig.models() if model.step is None]
    assert ended.fine_tuned_model == model.name
    assert model.name in rig.gate.verified
    assert (rig.services.settings.adapters / model.directory / "adapter_model.safetensors").is_file()
    with system_session(rig.services.database) as session:
        result = session.exec(select(FileRow).where(FileRow.id == ended.result_file)).one()
    assert (result.filename, result.purpose) == ("step_metrics.csv", FilePurpose.FINE_TUNE_RESULTS)
    content = b"".join(rig.services.blobs.open(BlobKey(result.id)))
    assert len(content) == result.bytes
    assert content.decode().splitlines()[1] == "1,2.0,0.5,,"
    assert len(content.splitlines()) == 11


def test_of_a_jobs_runs_only_the_logs_are_left(make_rig: MakeRig) -> None:
    rig = make_rig()
    ended = rig.finish(rig.make_job())
    left = {path.name for path in (rig.services.settings.runs / ended.id).rglob("*") if path.is_file()}
    assert left <= {"trainer.log"}


def test_the_last_three_checkpoints_are_kept_and_the_files_of_the_others_go(make_rig: MakeRig) -> None:
    rig = make_rig()
    ended = rig.finish(rig.make_long_job())
    rig.work_until(lambda: len(rig.adapters()) == 3)

    assert [row.step for row in rig.checkpoints()] == [6, 8, 10]
    assert rig.checkpoints()[-1].model_name == ended.fine_tuned_model
    kept = {model.step: model for model in rig.models() if model.deleted_at is None}
    gone = {model.step: model for model in rig.models() if model.deleted_at is not None}
    assert (set(kept), set(gone)) == ({6, 8, None}, {2, 4})
    assert rig.adapters() == {model.directory for model in kept.values()}
    assert {model.name for model in gone.values()} <= set(rig.gate.forgotten)


def test_after_a_crash_the_job_goes_on_from_its_newest_checkpoint(make_rig: MakeRig) -> None:
    launcher, trainer = playing({1: lambda run: run.crash_at(6)})
    rig = make_rig(launcher)
    job = rig.make_long_job()
    ended = rig.finish(job)

    assert ended.status == JobStatus.SUCCEEDED
    first, second = trainer.specs
    assert (first.attempt, first.resume_from) == (1, None)
    assert second.attempt == 2
    assert second.resume_from == rig.worker.run_directory(job, 1).checkpoint(5)
    assert rig.metrics_steps(job) == list(range(1, 11))
    assert rig.messages(job).count("Fine-tuning job started") == 1


def test_steps_that_are_trained_again_are_reported_once(make_rig: MakeRig) -> None:
    """The newest checkpoints are damaged, so the second attempt begins before what the first has reported."""

    def crash_and_damage(run: PlayedRun) -> Exited:
        run.train_to(6)
        for step in (4, 5, 6):
            (run.directory.checkpoint(step) / "manifest.json").unlink()
        return Exited(9)

    launcher, trainer = playing({1: crash_and_damage})
    rig = make_rig(launcher)
    job = rig.make_long_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert trainer.specs[1].resume_from == rig.worker.run_directory(job, 1).checkpoint(3)
    assert rig.metrics_steps(job) == list(range(1, 11))
    snapshots = [message.split(" with ")[0] for message in rig.messages(job) if "Snapshot ID" in message]
    assert snapshots == [f"Checkpoint created at step {step}" for step in (2, 4, 6, 8)]
    rig.restart()
    assert rig.adapters() == {model.directory for model in rig.models() if model.deleted_at is None}


def test_a_crash_after_the_last_checkpoint_loses_nothing(make_rig: MakeRig) -> None:
    """The second attempt has no step left to do: what it reports is that it succeeded."""

    def crash_when_done(run: PlayedRun) -> Exited:
        run.train_to(10)
        return Exited(9)

    rig = make_rig(playing({1: crash_when_done})[0])
    job = rig.make_long_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.metrics_steps(job) == list(range(1, 11))
    assert [row.step for row in rig.checkpoints()] == [6, 8, 10]
    assert rig.checkpoints()[-1].metrics["train_loss"] == 0.2


@pytest.mark.parametrize("step", [4, 10])
def test_a_checkpoint_that_was_saved_and_not_reported_is_shown_all_the_same(make_rig: MakeRig, step: int) -> None:
    launcher, trainer = playing({1: lambda run: run.crash_unreported(step)})
    rig = make_rig(launcher)
    job = rig.make_long_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert trainer.specs[1].resume_from == rig.worker.run_directory(job, 1).checkpoint(step - 1)
    assert rig.metrics_steps(job) == list(range(1, 11))
    snapshots = [message.split(" with ")[0] for message in rig.messages(job) if "Snapshot ID" in message]
    assert snapshots == [f"Checkpoint created at step {step}" for step in (2, 4, 6, 8)]


def test_a_job_whose_trainer_gets_no_further_in_three_attempts_has_failed(make_rig: MakeRig) -> None:
    launcher, trainer = playing({attempt: lambda run: run.crash_at(1) for attempt in range(1, 9)})
    rig = make_rig(launcher)
    job = rig.make_job()
    ended = rig.finish(job)

    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "trainer_crashed")
    assert "exit code 9, 3 times" in (ended.error_message or "")
    assert [spec.attempt for spec in trainer.specs] == [1, 2, 3]
    last = rig.events(job)[-1]
    assert (last.level, last.message) == ("error", ended.error_message)


def test_a_job_that_gets_further_with_each_crash_succeeds(make_rig: MakeRig) -> None:
    def crash_one_step_further(run: PlayedRun) -> Exited:
        return run.crash_at(run.step + 2)

    launcher, trainer = playing(dict.fromkeys(range(1, 10), crash_one_step_further))
    rig = make_rig(launcher)
    job = rig.make_long_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert len(trainer.specs) == 10
    assert rig.metrics_steps(job) == list(range(1, 11))


def test_after_each_crash_the_next_attempt_waits_longer(make_rig: MakeRig) -> None:
    launched: list[float] = []

    def crash(run: PlayedRun) -> Exited:
        launched.append(rig.clock.now)
        return run.crash_at(1)

    rig = make_rig(playing(dict.fromkeys(range(1, 6), crash))[0], max_crashes=5)
    rig.finish(rig.make_job())
    waits = [later - earlier for earlier, later in pairwise(launched)]
    assert len(waits) == 4
    assert waits == sorted(set(waits))


@pytest.mark.parametrize("end", [Exited(137, service_stopped=True), "interrupted"])
def test_a_run_that_was_stopped_with_the_service_is_no_crash(make_rig: MakeRig, end: Exited | str) -> None:
    def stop(run: PlayedRun) -> Exited:
        return end if isinstance(end, Exited) else run.interrupt_at(run.step)

    launcher, trainer = playing(dict.fromkeys(range(1, 6), stop))
    rig = make_rig(launcher)
    assert rig.finish(rig.make_job()).status == JobStatus.SUCCEEDED
    assert len(trainer.specs) == 6


def test_a_trainers_own_failure_is_the_jobs(make_rig: MakeRig) -> None:
    facts = {"code": FailureCode.LOSS_NOT_FINITE, "message": "The training loss is …", "param": "hyperparameters"}
    launcher, trainer = playing({1: lambda run: run.fail(**facts)})
    rig = make_rig(launcher)
    ended = rig.finish(rig.make_job())
    assert ended.status == JobStatus.FAILED
    assert (ended.error_code, ended.error_message) == ("loss_not_finite", "The training loss is …")
    assert ended.error_param == "hyperparameters"
    assert len(trainer.specs) == 1


def test_events_that_cannot_be_read_count_as_a_crash(make_rig: MakeRig) -> None:
    def write_rubbish(run: PlayedRun) -> Exited:
        with run.directory.events.open("ab") as file:
            file.write(b"rubbish\n")
        return Exited(0)

    launcher, trainer = playing({1: write_rubbish})
    rig = make_rig(launcher)
    assert rig.finish(rig.make_job()).status == JobStatus.SUCCEEDED
    assert len(trainer.specs) == 2


def test_cancelling_a_queued_job_never_launches_it(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).status == JobStatus.QUEUED)
    rig.cancel(job)
    for _ in range(5):
        rig.tick()
    assert rig.finish(job).status == JobStatus.CANCELLED
    assert trainer.specs == []
    assert rig.messages(job)[-1] == "The job was cancelled"


@pytest.mark.parametrize("stage", [Stage.VALIDATE, Stage.CHECK, Stage.LAUNCH, Stage.TRAIN, Stage.PUBLISH])
def test_a_job_cancelled_at_any_stage_stays_cancelled_and_leaves_no_model(make_rig: MakeRig, stage: Stage) -> None:
    rig = make_rig()
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).stage == stage)
    rig.cancel(job)
    ended = rig.finish(job)
    rig.restart()
    assert (ended.status, ended.fine_tuned_model, ended.result_file) == (JobStatus.CANCELLED, None, None)
    assert [model for model in rig.models() if model.step is None] == []
    assert rig.adapters() <= {model.directory for model in rig.models()}
    assert rig.messages(job)[-1] == "The job was cancelled"


def test_a_job_cancelled_while_its_model_is_verified_leaves_no_adapter(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.gate.refusals = [EngineUnavailable("not ready") for _ in range(3)]
    job = rig.make_job()
    adapters = rig.services.settings.adapters
    rig.work_until(lambda: len(rig.gate.refusals) < 3)
    assert [path for path in adapters.iterdir() if f":{path.name}" in (rig.job(job).pending_model or "")]
    rig.cancel(job)
    ended = rig.finish(job)
    assert (ended.status, ended.pending_model) == (JobStatus.CANCELLED, None)
    rig.work_until(lambda: not list(adapters.iterdir()) or rig.models())
    assert {path.name for path in adapters.iterdir()} == {model.directory for model in rig.models()}


def test_cancelling_a_running_job_ends_its_process(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STEP_S", "0.05")
    launcher = LocalProcessLauncher("trainer.fake")
    rig = make_rig(launcher)
    job = rig.make_long_job()
    work_for_real(rig, lambda: rig.job(job).last_step)
    handle = RunHandle.from_json(rig.job(job).run_handle or {})
    rig.cancel(job)
    work_for_real(rig, lambda: rig.job(job).stage is None)
    assert not isinstance(launcher.poll(handle), Running)
    assert rig.job(job).status == JobStatus.CANCELLED
    steps = rig.metrics_steps(job)
    assert steps == list(range(1, len(steps) + 1))


def test_a_job_trained_in_a_process_of_its_own_succeeds(make_rig: MakeRig) -> None:
    rig = make_rig(LocalProcessLauncher("trainer.fake"))
    job = rig.make_job()
    work_for_real(rig, lambda: rig.job(job).finished_at and rig.job(job).stage is None)
    assert rig.job(job).status == JobStatus.SUCCEEDED, rig.messages(job)
    assert rig.metrics_steps(job) == [1, 2]


def test_a_worker_that_is_told_to_stop_stops_its_runs_and_the_next_goes_on(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STEP_S", "0.1")
    rig = make_rig(LocalProcessLauncher("trainer.fake"))
    job = rig.make_long_job()
    stop = Event()
    worker = Thread(target=Reconciler(rig.worker).run, args=[stop])
    worker.start()
    try:
        until_real(lambda: rig.job(job).last_step)
    finally:
        stop.set()
        worker.join(30)
    assert rig.job(job).status == JobStatus.RUNNING
    assert isinstance(read_events(rig.worker.run_directory(job, 1).events).events[-1], Interrupted)

    monkeypatch.setenv("FAKE_STEP_S", "0")
    rig.restart()
    work_for_real(rig, lambda: rig.job(job).finished_at)
    ended = rig.job(job)
    assert (ended.status, ended.attempt, ended.crashes) == (JobStatus.SUCCEEDED, 2, 0)
    assert rig.metrics_steps(job) == list(range(1, 11))
    assert rig.messages(job).count("Fine-tuning job started") == 1


def test_a_model_is_written_down_with_the_hash_of_its_weights(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.finish(rig.make_job())

    adapters = rig.services.settings.adapters
    assert rig.models()
    for model in rig.models():
        weights = (adapters / model.directory / "adapter_model.safetensors").read_bytes()
        assert model.sha256 == hashlib.sha256(weights).hexdigest()


def test_a_model_the_engine_rejects_fails_the_job_and_leaves_nothing(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.gate.refusals = [AdapterRejected("the shapes do not fit")]
    job = rig.make_job()
    ended = rig.finish(job)

    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "model_not_servable")
    assert "the shapes do not fit" in (ended.error_message or "")
    assert (ended.fine_tuned_model, ended.pending_model, ended.result_file) == (None, None, None)
    assert [model for model in rig.models() if model.step is None] == []
    assert rig.adapters() <= {model.directory for model in rig.models()}
    assert "The job has successfully completed" not in rig.messages(job)


def test_a_job_waits_for_an_engine_that_is_away(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.gate.refusals = [EngineUnavailable("not ready") for _ in range(8)]
    job = rig.make_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.gate.refusals == []
    assert rig.messages(job).count("The job has successfully completed") == 1


def test_a_training_file_deleted_before_it_was_read_fails_the_job(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job()
    delete_training_file(rig, job)
    ended = rig.finish(job)
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "invalid_training_file")
    assert ended.error_param == "training_file"
    assert job.training_file in (ended.error_message or "")
    assert "deleted" in (ended.error_message or "")


def test_a_training_file_deleted_after_it_was_read_stops_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(playing({1: lambda run: run.crash_at(2)})[0])
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).status == JobStatus.QUEUED)
    delete_training_file(rig, job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED


def test_a_bad_training_file_fails_the_job_without_a_run(make_rig: MakeRig) -> None:
    launcher, _ = playing({})
    rig = make_rig(launcher)
    bad = make_file(rig.services, rig.project_id, b'{"messages": "zebra"}\n')
    job = rig.make_job(training_file=bad.id)
    ended = rig.finish(job)
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "invalid_training_file")
    assert "Line 1" in (ended.error_message or "")
    assert "zebra" not in "".join(rig.messages(job))
    assert launcher.launched == []


def test_what_the_trainer_finds_in_the_files_fails_the_job(make_rig: MakeRig) -> None:
    failure = CheckFailure(code=FailureCode.INVALID_VALIDATION_FILE, message="none is left", param="validation_file")
    trainer = PlayedTrainer(check=failing_report(failure))
    rig = make_rig(InMemoryLauncher(trainer))
    ended = rig.finish(rig.make_job())
    assert ended.status == JobStatus.FAILED
    assert (ended.error_code, ended.error_message) == ("invalid_validation_file", "none is left")
    assert ended.error_param == "validation_file"
    assert trainer.specs == []


def test_a_check_that_never_reports_fails_the_job_in_the_end(make_rig: MakeRig) -> None:
    launcher = InMemoryLauncher(lambda _: Exited(9))
    rig = make_rig(launcher)
    ended = rig.finish(rig.make_job())
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, "trainer_crashed")


def test_a_job_trains_with_its_validation_file(make_rig: MakeRig) -> None:
    rig = make_rig()
    validation = make_file(rig.services, rig.project_id)
    job = rig.make_job(validation_file=validation.id)
    ended = rig.finish(job)
    assert ended.status == JobStatus.SUCCEEDED
    files = f"training file: {job.training_file} and validation file: {validation.id}"
    assert f"Validating {files}" in rig.messages(job)


def test_a_worker_killed_after_every_act_is_followed_by_one_that_goes_on(make_rig: MakeRig) -> None:
    launcher, trainer = playing({1: lambda run: run.crash_at(6)})
    rig = make_rig(launcher)
    job = rig.make_long_job()
    seen = set()
    for _ in range(PATIENCE_TICKS):
        rig.restart()
        rig.tick()
        seen.add(rig.job(job).stage)
    ended = rig.job(job)
    assert (ended.status, ended.stage) == (JobStatus.SUCCEEDED, None), seen
    assert {Stage.VALIDATE, Stage.CHECK, Stage.LAUNCH, Stage.TRAIN, Stage.RETRY, Stage.PUBLISH} <= seen
    assert rig.metrics_steps(job) == list(range(1, 11))
    assert rig.messages(job).count("Fine-tuning job started") == 1
    assert rig.messages(job).count("The job has successfully completed") == 1
    assert len(trainer.specs) == 2
    rig.work_until(lambda: len(rig.adapters()) == 3)
    assert rig.adapters() == {model.directory for model in rig.models() if model.deleted_at is None}


class DyingLauncher:
    """Whoever launches with it dies right after, before anything can be written down."""

    def __init__(self) -> None:
        self.inner = InMemoryLauncher(PlayedTrainer())
        self.deaths = 0

    def launch(self, request: LaunchRequest) -> RunHandle:
        handle = self.inner.launch(request)
        if request.task == "train" and self.deaths < 2:
            self.deaths += 1
            raise ConnectionResetError
        return handle

    def poll(self, handle: RunHandle) -> RunState:
        return self.inner.poll(handle)

    def stop(self, handle: RunHandle, grace_s: float) -> None:
        self.inner.stop(handle, grace_s)


def test_a_run_whose_handle_was_lost_is_found_and_not_started_twice(make_rig: MakeRig) -> None:
    launcher = DyingLauncher()
    rig = make_rig(launcher)
    job = rig.make_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert launcher.deaths == 2
    trained = [request for request in launcher.inner.launched if request.task == "train"]
    assert len(trained) == 1
    assert rig.metrics_steps(job) == [1, 2]


def test_a_stale_workers_write_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).status == JobStatus.QUEUED)
    as_the_old_one_saw_it = rig.job(job)
    rig.restart()
    with pytest.raises(LeaseLost):
        training.begin_attempt(rig.worker, as_the_old_one_saw_it)
    assert (rig.job(job).status, rig.job(job).attempt) == (JobStatus.QUEUED, 0)


class RefusingLauncher:
    """Starts nothing: raises what it is told to, then hands over to a launcher that plays."""

    def __init__(self, refusals: list[Exception]) -> None:
        self.inner = InMemoryLauncher(PlayedTrainer())
        self.refusals = refusals

    def launch(self, request: LaunchRequest) -> RunHandle:
        if request.task == "train" and self.refusals:
            raise self.refusals.pop(0)
        return self.inner.launch(request)

    def poll(self, handle: RunHandle) -> RunState:
        return self.inner.poll(handle)

    def stop(self, handle: RunHandle, grace_s: float) -> None:
        self.inner.stop(handle, grace_s)


def test_a_run_that_is_refused_fails_the_job(make_rig: MakeRig) -> None:
    rig = make_rig(RefusingLauncher([LaunchRefused("no such queue") for _ in range(50)]))
    job = rig.make_job()
    ended = rig.finish(job)
    assert (ended.status, ended.error_code, ended.error_message) == (
        JobStatus.FAILED,
        "internal_error",
        "no such queue",
    )


def test_a_job_waits_for_room_to_run(make_rig: MakeRig) -> None:
    rig = make_rig(RefusingLauncher([NoCapacity() for _ in range(8)]))
    job = rig.make_job()
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.messages(job).count("Fine-tuning job started") == 1


def test_a_fault_of_our_own_fails_its_job_alone_and_shows_nothing_of_it(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(RefusingLauncher([RuntimeError("zebra") for _ in range(5)]))
    first, second = rig.make_job(), rig.make_job()
    broken, sound = rig.finish(first), rig.finish(second)
    assert (broken.status, broken.error_code) == (JobStatus.FAILED, "internal_error")
    assert sound.status == JobStatus.SUCCEEDED
    assert "zebra" not in "".join(rig.messages(first))
    assert "zebra" not in caplog.messages
    assert any(first.id in message and "RuntimeError" in message for message in caplog.messages)


def test_jobs_wait_for_their_turn(make_rig: MakeRig) -> None:
    rig = make_rig(max_running_jobs=1)
    jobs = [rig.make_job() for _ in range(3)]
    order: list[str] = []
    for _ in range(PATIENCE_TICKS):
        running = [job.id for job in jobs if rig.job(job).status == JobStatus.RUNNING]
        assert len(running) <= 1
        order += [job_id for job_id in running if job_id not in order]
        rig.tick()
    assert order == [job.id for job in jobs]
    assert {rig.job(job).status for job in jobs} == {JobStatus.SUCCEEDED}


def test_where_gpus_are_separate_a_trainer_sees_one_and_another_the_next(make_rig: MakeRig) -> None:
    launcher, _ = playing({})
    rig = make_rig(launcher, max_running_jobs=2)
    resources = Resources(2, {0: None}, {1: 10**12, 2: 10**12})
    rig.worker = replace(rig.worker, placement=Placement(Policy.SEPARATE, resources))
    rig.restart()
    jobs = [rig.make_job() for _ in range(2)]
    for job in jobs:
        rig.finish(job)
    trained = [request.environment for request in launcher.launched if request.task == "train"]
    assert sorted(seen["CUDA_VISIBLE_DEVICES"] for seen in trained) == ["1", "2"]


def test_where_they_take_turns_no_job_starts_while_an_engine_is_there(make_rig: MakeRig) -> None:
    rig = make_rig()
    sizes = (EngineSize("tunesmith-demo", 1),)
    rig.worker = replace(rig.worker, placement=Placement(Policy.YIELD, rig.services.placement.resources, sizes=sizes))
    rig.restart()
    with placing(rig.services.database, write=True) as session:
        write_engine(session, "tunesmith-demo", Standing(EngineState.STOPPING, rig.clock.now, Why.TRAINING))
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).status == JobStatus.QUEUED)
    for _ in range(5):
        rig.tick()
    assert rig.job(job).status == JobStatus.QUEUED
    with placing(rig.services.database, write=True) as session:
        write_engine(session, "tunesmith-demo", Standing(EngineState.STOPPED, rig.clock.now, Why.TRAINING))
    assert rig.finish(job).status == JobStatus.SUCCEEDED


def test_the_files_of_a_deleted_model_go_once_the_engine_has_forgotten_it(make_rig: MakeRig) -> None:
    rig = make_rig()
    ended = rig.finish(rig.make_job())
    with system_session(rig.services.database, write=True) as session:
        query = select(FineTunedModelRow).where(FineTunedModelRow.name == ended.fine_tuned_model)
        model = session.exec(query).one()
        model.deleted_at = 1
    rig.work_until(lambda: model.directory not in rig.adapters())
    assert model.name in rig.gate.forgotten


def test_adapters_nobody_stands_for_are_swept_when_a_worker_begins(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.finish(rig.make_job())
    known = {model.directory for model in rig.models() if model.deleted_at is None}
    for orphan in ("Abcd1234", "Abcd1234.tmp"):
        shutil.copytree(rig.services.settings.adapters / min(known), rig.services.settings.adapters / orphan)
    rig.restart()
    assert {"Abcd1234", "Abcd1234.tmp"}.isdisjoint(rig.adapters())
    assert known <= rig.adapters()


def work_for_real(rig: Rig, probe: Callable[[], object]) -> None:
    """For runs that are processes: work until it is so, and give them a moment after each tick."""

    def tick_and_probe() -> object:
        rig.tick()
        return probe()

    until_real(tick_and_probe)


def until_real(probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not probe():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def delete_training_file(rig: Rig, job: JobRow) -> None:
    with system_session(rig.services.database, write=True) as session:
        session.delete(session.exec(select(FileRow).where(FileRow.id == job.training_file)).one())
    rig.services.blobs.delete(BlobKey(job.training_file))
