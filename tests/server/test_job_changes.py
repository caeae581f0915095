"""What the worker changes in a job, in a transaction of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from server.bootstrap import Services, build_services
from server.db.system_session import system_session
from server.db.tables import JobEventRow, JobRow
from server.fine_tuning.job_changes import ImpossibleTransition, add_event, base_not_offered, end, fail, move
from server.fine_tuning.lifecycle import Fail, NewEvent
from server.ids import ProjectId
from server.vocabulary import EventLevel, EventType, JobErrorCode, JobStatus
from tests.factories import make_job
from tests.running_api import make_settings

FAILURE = Fail(JobErrorCode.LOSS_NOT_FINITE, "The loss is not finite.", "hyperparameters")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path / "home", api_key="test key"))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.authenticate([(b"authorization", b"Bearer test key")]).project_id


def failed(services: Services, job: JobRow) -> tuple[JobRow, list[JobEventRow]]:
    """The job and its events, after FAILURE at second 99."""
    with system_session(services.database, write=True) as session:
        current = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
        fail(session, current, FAILURE, now=99.9)
    with system_session(services.database) as session:
        current = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
        return current, list(session.exec(select(JobEventRow).where(JobEventRow.job_id == job.id)))


def test_a_job_moves_on_where_the_lifecycle_lets_it(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        move(job, status)
        assert job.status == status
    with pytest.raises(ImpossibleTransition):
        move(job, JobStatus.SUCCEEDED)  # nobody would be told
    with system_session(services.database, write=True) as session:
        end(session, job, JobStatus.SUCCEEDED, now=99.9)
    assert (job.status, job.finished_at) == (JobStatus.SUCCEEDED, 99)


@pytest.mark.parametrize(
    ("current", "following"),
    [
        (JobStatus.VALIDATING_FILES, JobStatus.RUNNING),
        (JobStatus.QUEUED, JobStatus.QUEUED),
        (JobStatus.CANCELLED, JobStatus.RUNNING),
        (JobStatus.SUCCEEDED, JobStatus.FAILED),
    ],
)
def test_a_step_that_is_none_is_refused_and_changes_nothing(
    services: Services, project_id: ProjectId, current: JobStatus, following: JobStatus
) -> None:
    job = make_job(services, project_id, status=current)
    with pytest.raises(ImpossibleTransition, match=f"{current} → {following}"):
        move(job, following)
    assert job.status == current


@pytest.mark.parametrize("status", [JobStatus.VALIDATING_FILES, JobStatus.QUEUED, JobStatus.RUNNING])
def test_a_failed_job_shows_why_and_says_it_as_its_last_event(
    services: Services, project_id: ProjectId, status: JobStatus
) -> None:
    job, events = failed(services, make_job(services, project_id, status=status, estimated_finish=500))
    assert (job.status, job.finished_at, job.estimated_finish) == (JobStatus.FAILED, 99, None)
    assert (job.error_code, job.error_message) == ("loss_not_finite", "The loss is not finite.")
    assert job.error_param == "hyperparameters"
    last = events[-1]
    assert (last.message, last.level, last.type) == ("The loss is not finite.", EventLevel.ERROR, EventType.MESSAGE)
    assert last.created_at == 99


def test_a_job_that_has_ended_does_not_fail_any_more(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id, status=JobStatus.CANCELLED)
    with pytest.raises(ImpossibleTransition):
        failed(services, job)
    with system_session(services.database) as session:
        stored = session.exec(select(JobRow)).one()
    assert (stored.status, stored.error_code, stored.finished_at) == (JobStatus.CANCELLED, None, None)


def test_an_event_belongs_to_its_job_and_project(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    new = NewEvent("Step 1/2: …", EventLevel.INFO, EventType.METRICS, {"step": 1})
    with system_session(services.database, write=True) as session:
        add_event(session, job, new, now=12.7)
    with system_session(services.database) as session:
        *_, row = session.exec(select(JobEventRow))
    assert row.id.startswith("ftevent-")
    assert (row.job_id, row.project_id, row.created_at) == (job.id, project_id, 12)
    assert (row.message, row.level, row.type, row.data) == (new.message, new.level, new.type, new.data)


def test_a_base_model_that_was_taken_away_is_named_as_the_client_named_it(
    services: Services, project_id: ProjectId
) -> None:
    failure = base_not_offered(make_job(services, project_id, requested_model="gpt-4o-mini"))
    assert (failure.code, failure.param) == (JobErrorCode.BASE_MODEL_UNAVAILABLE, "model")
    assert "gpt-4o-mini" in failure.message
