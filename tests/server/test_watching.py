"""The diagnoses of whole jobs: as events, each once, whatever dies on the way."""

import json
from collections.abc import Callable

import pytest
from sqlmodel import select

from server.db.system_session import system_session
from server.db.tables import JobCourseRow, JobEventRow, JobRow
from server.fine_tuning.leases import owned
from server.fine_tuning.running.watching import JobWatch
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, Lost
from server.vocabulary import EventLevel, EventType, JobStatus
from tests.factories import EXAMPLE, make_file
from tests.job_rig import MakeRig, Rig
from tests.played_runs import PlayedRun, PlayedTrainer
from trainer.contract.events import Metrics, Progress

TWENTY_STEPS = {"n_epochs": 2, "batch_size": 1, "learning_rate_multiplier": 1.0}
Faults = dict[int, Callable[[PlayedRun], Exited | Lost]]


def hot(step: int) -> float:
    return 2.0 if step <= 3 else 6.0 + 0.01 * step


def diagnoses(rig: Rig, job: JobRow) -> list[JobEventRow]:
    return [event for event in rig.events(job) if "diagnosis" in (event.data or {})]


def names(rig: Rig, job: JobRow) -> list[str]:
    return [(event.data or {})["diagnosis"] for event in diagnoses(rig, job)]


def course_of(rig: Rig, job: JobRow) -> JobCourseRow | None:
    with system_session(rig.services.database) as session:
        return session.exec(select(JobCourseRow).where(JobCourseRow.job_id == job.id)).one_or_none()


def rig_with(make_rig: MakeRig, faults: Faults | None = None) -> tuple[Rig, JobRow]:
    rig = make_rig(InMemoryLauncher(PlayedTrainer(faults or {}, loss=hot)))
    return rig, rig.make_job(requested_hyperparameters=TWENTY_STEPS)


def test_a_diagnosis_is_a_warning_with_its_name_and_numbers_before_the_next_step(make_rig: MakeRig) -> None:
    rig, job = rig_with(make_rig)
    rig.finish(job)
    (event,) = diagnoses(rig, job)
    assert (event.level, event.type) == (EventLevel.WARN, EventType.MESSAGE)
    assert event.message.startswith("Learning rate too hot: at step 10 the training loss has risen from 2.00 to 6.")
    assert event.data is not None
    assert event.data["diagnosis"] == "learning_rate_too_hot"
    assert (event.data["step"], event.data["loss_at_start"]) == (10, 2.0)
    messages = rig.messages(job)
    position = messages.index(event.message)
    assert messages[position - 1].startswith("Step 10/20")
    assert messages[position + 1].startswith(("Step 11/20", "Checkpoint created at step 10"))


def test_a_healthy_job_hears_nothing(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job(requested_hyperparameters=TWENTY_STEPS)
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert names(rig, job) == []


def test_a_run_that_is_over_too_soon_is_told_at_its_end(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job()
    rig.finish(job)
    assert names(rig, job) == ["too_few_steps"]


@pytest.mark.parametrize("step", [2, 10, 20])
def test_a_crash_neither_repeats_a_diagnosis_nor_loses_it(make_rig: MakeRig, step: int) -> None:
    """The checkpoints after the second step are damaged, so the second attempt trains what was judged once more."""

    def crash(run: PlayedRun) -> Exited:
        run.train_to(step)
        for later in range(3, step + 1):
            (run.directory.checkpoint(later) / "manifest.json").unlink(missing_ok=True)
        return Exited(9)

    rig, job = rig_with(make_rig, {1: crash})
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert rig.job(job).attempt == 2
    assert names(rig, job) == ["learning_rate_too_hot"]


def test_a_worker_that_dies_again_and_again_says_it_once(make_rig: MakeRig) -> None:
    rig, job = rig_with(make_rig, {1: lambda run: run.crash_at(12), 2: lambda run: run.interrupt_at(15)})
    for _ in range(30):
        rig.restart()
        rig.tick()
    assert rig.job(job).status == JobStatus.SUCCEEDED
    assert names(rig, job) == ["learning_rate_too_hot"]


def test_a_paused_and_resumed_job_hears_it_once(make_rig: MakeRig) -> None:
    rig, job = rig_with(make_rig, {1: lambda run: run.interrupt_at(12)})
    rig.work_until(lambda: names(rig, job))
    rig.pause(job)
    rig.work_until(lambda: rig.job(job).stage is None)
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert names(rig, job) == ["learning_rate_too_hot"]


def test_what_a_transaction_does_not_keep_was_never_said(make_rig: MakeRig) -> None:
    rig, job = rig_with(make_rig, {1: lambda run: run.crash_at(3)})
    rig.work_until(lambda: rig.job(job).last_step == 2)
    events = [progress(step) for step in range(3, 21)]
    before = course_of(rig, job)

    with pytest.raises(KeyboardInterrupt):
        see(rig, job, events, dies=True)
    assert (names(rig, job), course_of(rig, job)) == ([], before)
    see(rig, job, events)
    see(rig, job, events)
    assert names(rig, job) == ["learning_rate_too_hot"]


def test_it_is_the_same_whether_events_come_one_by_one_or_together(make_rig: MakeRig) -> None:
    rig, one = rig_with(make_rig, {1: lambda run: run.crash_at(1), 2: lambda run: run.crash_at(1)})
    other = rig.make_job(requested_hyperparameters=TWENTY_STEPS)
    rig.work_until(lambda: all(rig.job(job).total_steps for job in (one, other)))
    events = [progress(step) for step in range(1, 21)]
    for event in events:
        see(rig, one, [event])
    see(rig, other, events)
    first, second = course_of(rig, one), course_of(rig, other)
    assert first is not None
    assert second is not None
    assert (first.course, first.said) == (second.course, second.said)
    assert [event.data for event in diagnoses(rig, one)] == [event.data for event in diagnoses(rig, other)]


def test_a_job_that_was_queued_by_a_version_without_diagnoses_ends_as_ever(make_rig: MakeRig) -> None:
    rig, job = rig_with(make_rig, {1: lambda run: run.crash_at(6)})
    rig.work_until(lambda: rig.job(job).last_step == 5)
    with system_session(rig.services.database, write=True) as session:
        session.delete(session.exec(select(JobCourseRow).where(JobCourseRow.job_id == job.id)).one())
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert names(rig, job) == []


def test_what_can_be_told_before_the_run_is_told_while_it_is_queued(make_rig: MakeRig) -> None:
    rig = make_rig(InMemoryLauncher(PlayedTrainer()))
    validation = make_file(rig.services, rig.project_id, (json.dumps(EXAMPLE).encode() + b"\n") * 5)
    hyperparameters = {"n_epochs": 30, "batch_size": 256, "learning_rate_multiplier": 50.0}
    job = rig.make_job(requested_hyperparameters=hyperparameters, validation_file=validation.id)
    rig.finish(job)

    told = diagnoses(rig, job)
    assert {(event.data or {})["diagnosis"] for event in told} == {
        "batch_larger_than_examples",
        "learning_rate_outside_range",
        "validation_too_small",
    }
    assert {event.level for event in told} == {EventLevel.WARN}
    messages = rig.messages(job)
    assert messages.index("Files validated, moving job to queued state") == messages.index(told[-1].message) + 1
    assert "1+1" not in "".join(messages)


def see(rig: Rig, job: JobRow, events: list[Progress], *, dies: bool = False) -> None:
    """As the worker applies events: one transaction."""
    with owned(rig.services.database, rig.job(job), also_changed=True) as (session, current):
        watch = JobWatch(session, current)
        for event in events:
            watch.see(event)
        watch.keep()
        if dies:
            raise KeyboardInterrupt


def progress(step: int) -> Progress:
    return Progress(
        seq=step,
        at=1.0,
        step=step,
        total_steps=20,
        metrics=Metrics(train_loss=hot(step), train_mean_token_accuracy=0.5),
        trained_tokens=20 * step,
        learning_rate=1e-3,
        grad_norm=1.0,
        seconds_per_step=1.0,
    )
