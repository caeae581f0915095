"""The life of a job, by table: every status after every other, every kind of event, every way a run can end."""

from itertools import product
from typing import get_args

import pytest

from server.fine_tuning.lifecycle import (
    Conclusion,
    Effects,
    Fail,
    JobProgress,
    NewEvent,
    Publish,
    Retry,
    apply,
    conclude,
    is_terminal,
    job_error_code,
    may_follow,
    metrics_event,
)
from server.launchers.launcher import Exited, Lost
from server.vocabulary import EventLevel, EventType, JobErrorCode, JobStatus
from trainer.contract.events import (
    CheckpointSaved,
    Failed,
    FailureCode,
    Interrupted,
    Metrics,
    Note,
    Progress,
    Started,
    Succeeded,
    Terminal,
    TrainerEvent,
)

VALIDATING, QUEUED, RUNNING = JobStatus.VALIDATING_FILES, JobStatus.QUEUED, JobStatus.RUNNING
PAUSED = JobStatus.PAUSED
SUCCEEDED, FAILED, CANCELLED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED
STEPS_OF_A_LIFE = {
    (VALIDATING, QUEUED),
    (VALIDATING, FAILED),
    (VALIDATING, CANCELLED),
    (QUEUED, RUNNING),
    (QUEUED, FAILED),
    (QUEUED, CANCELLED),
    (RUNNING, SUCCEEDED),
    (RUNNING, FAILED),
    (RUNNING, CANCELLED),
    (QUEUED, PAUSED),
    (RUNNING, PAUSED),
    (PAUSED, QUEUED),
    (PAUSED, FAILED),
    (PAUSED, CANCELLED),
}
METRICS = Metrics(train_loss=1.5, train_mean_token_accuracy=0.25)


def progress_of(step: int, metrics: Metrics = METRICS, *, total_steps: int = 10) -> Progress:
    return Progress(
        seq=step,
        at=1000.0,
        step=step,
        total_steps=total_steps,
        metrics=metrics,
        trained_tokens=20 * step,
        learning_rate=1e-3,
        grad_norm=1.0,
        seconds_per_step=2.5,
    )


@pytest.mark.parametrize(("current", "following"), list(product(JobStatus, JobStatus)))
def test_a_status_follows_another_only_where_the_life_of_a_job_says_so(
    current: JobStatus, following: JobStatus
) -> None:
    assert may_follow(current, following) == ((current, following) in STEPS_OF_A_LIFE)


def test_the_three_ends_are_terminal_and_nothing_else_is() -> None:
    assert {status for status in JobStatus if is_terminal(status)} == {SUCCEEDED, FAILED, CANCELLED}


SAVED = CheckpointSaved(seq=5, at=1.0, step=4, epoch=1, directory="checkpoints/step_000004", metrics=METRICS)
DONE = Succeeded(seq=9, at=1.0, step=10, trained_tokens=200, adapter="adapter")
MEANINGS: dict[str, tuple[TrainerEvent, Effects]] = {
    "started": (
        Started(seq=0, at=1.0, total_steps=10, n_examples=20, first_step=1),
        Effects(changes={"total_steps": 10, "n_examples": 20}),
    ),
    "progress": (
        progress_of(4),
        Effects(
            changes={"last_step": 4, "estimated_finish": 1015, "training_tokens_per_s": 8.0, "crashes": 0},
            events=(metrics_event(progress_of(4)),),
        ),
    ),
    "the step reported last": (progress_of(3), Effects()),
    "a step reported long ago": (progress_of(1), Effects()),
    "checkpoint of an epoch": (SAVED, Effects(checkpoint=SAVED)),
    "checkpoint to resume from": (SAVED.model_copy(update={"epoch": None}), Effects()),
    "note": (
        Note(seq=1, at=1.0, level="warn", message="2 examples are cut"),
        Effects(events=(NewEvent("2 examples are cut", EventLevel.WARN),)),
    ),
    "succeeded": (DONE, Effects(changes={"trained_tokens": 200}, result=DONE)),
    "failed": (Failed(seq=9, at=1.0, code=FailureCode.DISK_FULL, message="full"), Effects()),
    "interrupted": (Interrupted(seq=9, at=1.0, step=3), Effects()),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_an_event_means_what_the_table_says(name: str) -> None:
    event, expected = MEANINGS[name]
    assert expected == apply(JobProgress(last_step=3), event)


def test_every_kind_of_event_is_in_the_table() -> None:
    union, *_ = get_args(TrainerEvent)
    assert set(get_args(union)) == {type(event) for event, _ in MEANINGS.values()}


VALIDATED = Metrics(train_loss=0.154, train_mean_token_accuracy=0.5, valid_loss=0.266, valid_mean_token_accuracy=0.4)
FULLY = Metrics(
    train_loss=0.154,
    train_mean_token_accuracy=0.5,
    valid_loss=0.266,
    valid_mean_token_accuracy=0.4,
    full_valid_loss=0.4,
    full_valid_mean_token_accuracy=0.0,
)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (METRICS, "Step 3/300: training loss=1.50"),
        (VALIDATED, "Step 3/300: training loss=0.15, validation loss=0.27"),
        (FULLY, "Step 3/300: training loss=0.15, validation loss=0.27, full validation loss=0.40"),
    ],
)
def test_a_metrics_event_has_openais_words_and_only_what_was_measured(metrics: Metrics, message: str) -> None:
    event = metrics_event(progress_of(3, metrics, total_steps=300))
    measured = metrics.model_dump(exclude_none=True)
    expected = NewEvent(message, EventLevel.INFO, EventType.METRICS, {"step": 3, "total_steps": 300, **measured})
    assert expected == event


INTERRUPTED = Interrupted(seq=9, at=1.0, step=3)
FAILED_FILE = Failed(
    seq=9, at=1.0, code=FailureCode.INVALID_VALIDATION_FILE, message="Line 3 …", param="validation_file"
)
FILE_FAULT = Fail(JobErrorCode.INVALID_VALIDATION_FILE, "Line 3 …", "validation_file")
ENDS = [Exited(0), Exited(1), Exited(9), Exited(137), Exited(143), Exited(137, service_stopped=True), Lost()]
BY_LAST_WORDS: list[tuple[Terminal, Conclusion]] = [
    (DONE, Publish()),
    (FAILED_FILE, FILE_FAULT),
    (INTERRUPTED, Retry(crashed=False)),
]


@pytest.mark.parametrize(("end", "said", "crashes"), list(product(ENDS, BY_LAST_WORDS, [0, 1, 2, 3])))
def test_a_runs_last_words_decide_however_its_process_ended(
    end: Exited | Lost, said: tuple[Terminal, Conclusion], crashes: int
) -> None:
    last, expected = said
    assert expected == conclude(end, last, crashes=crashes, max_crashes=3)


@pytest.mark.parametrize(("end", "crashes"), list(product([Exited(137, service_stopped=True), Exited(143)], range(4))))
def test_a_run_that_was_stopped_is_tried_again_and_is_no_crash(end: Exited, crashes: int) -> None:
    """Together with the service; or asked to, with SIGTERM, before it could say so."""
    assert conclude(end, None, crashes=crashes, max_crashes=3) == Retry(crashed=False)


CRASHES = [(Exited(code), f"with exit code {code}") for code in (0, 1, 9, 137)] + [(Lost(), "without a trace")]


@pytest.mark.parametrize(("end", "how"), CRASHES)
def test_a_run_that_ends_without_a_word_is_tried_again_until_it_crashed_too_often(end: Exited | Lost, how: str) -> None:
    assert conclude(end, None, crashes=0, max_crashes=3) == Retry(crashed=True)
    assert conclude(end, None, crashes=1, max_crashes=3) == Retry(crashed=True)
    for crashes in (2, 3):
        failure = conclude(end, None, crashes=crashes, max_crashes=3)
        assert isinstance(failure, Fail)
        assert (failure.code, failure.param) == (JobErrorCode.TRAINER_CRASHED, None)
        assert failure.message.startswith(f"The training process ended {how}, 3 times without getting further.")
        assert "tunesmith jobs logs" in failure.message


def test_a_job_that_may_not_crash_fails_at_its_first() -> None:
    assert isinstance(conclude(Exited(9), None, crashes=0, max_crashes=1), Fail)


@pytest.mark.parametrize("code", FailureCode)
def test_a_job_can_show_every_failure_of_the_trainer(code: FailureCode) -> None:
    assert job_error_code(code).value == code.value
