"""What was found in a job's files, and what that does to the job."""

from typing import Any

import pytest

from server.fine_tuning.validating.findings import failure_of, warnings
from server.vocabulary import EventLevel
from trainer.contract.report import Finding, Severity


def finding(severity: Severity, **more: Any) -> Finding:
    values = {"check": "duplicates", "file": "training", "message": "2 example(s) of the training file are odd."}
    return Finding(severity=severity, **{**values, **more})


WARNING, ERROR, INFO = Severity.WARNING, Severity.ERROR, Severity.INFO


def test_sound_files_warn_of_nothing() -> None:
    assert (failure_of([]), warnings([])) == (None, [])
    remark = finding(INFO)
    assert (failure_of([remark]), warnings([remark])) == (None, [])


def test_a_warning_becomes_an_event_that_names_its_lines() -> None:
    (event,) = warnings([finding(WARNING, lines=(2, 7), n_lines=2), finding(INFO)])
    assert (event.level, event.message) == (
        EventLevel.WARN,
        "2 example(s) of the training file are odd. See lines 2, 7.",
    )


def test_of_many_lines_the_first_twenty_are_named_and_the_rest_is_counted() -> None:
    (event,) = warnings([finding(WARNING, lines=tuple(range(1, 21)), n_lines=30)])
    assert event.message.endswith("19, 20 and 10 more.")


@pytest.mark.parametrize(("n_findings", "n_told"), [(1, 1), (12, 12), (13, 11), (40, 11)])
def test_at_most_twelve_events_warn_and_the_last_counts_the_rest(n_findings: int, n_told: int) -> None:
    found = warnings([finding(WARNING, message=f"Finding {number}.") for number in range(n_findings)])
    assert [event.message for event in found[:n_told]] == [f"Finding {number}." for number in range(n_told)]
    rest = [event.message for event in found[n_told:]]
    assert rest == (
        [f"{n_findings - n_told} more finding(s) about the files are in the job's report."]
        if n_told < n_findings
        else []
    )


@pytest.mark.parametrize(
    ("check", "file", "code"),
    [
        ("personal_data", "training", "invalid_training_file"),
        ("personal_data", "validation", "invalid_validation_file"),
        ("too_few_examples", "training", "invalid_n_examples"),
    ],
)
def test_an_error_fails_the_job_with_openais_code(check: str, file: str, code: str) -> None:
    failure = failure_of([finding(ERROR, check=check, file=file, lines=(4,), n_lines=1), finding(WARNING)])
    assert failure is not None
    assert (failure.code, failure.param) == (code, f"{file}_file")
    assert failure.message == "2 example(s) of the training file are odd. See lines 4."


def test_of_several_errors_the_first_is_told_and_the_others_are_counted() -> None:
    failure = failure_of([finding(ERROR), finding(ERROR), finding(ERROR)])
    assert failure is not None
    assert failure.message.endswith("The job's report names 2 more reason(s).")
