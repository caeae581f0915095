"""One owner per job: claims, refused writes, and what the worker reads of all projects."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from server.bootstrap import Services, build_services
from server.db.system_session import system_session
from server.db.tables import FileRow, FineTunedModelRow, JobEventRow, JobRow
from server.fine_tuning.job_changes import add_event
from server.fine_tuning.leases import (
    LeaseLost,
    checkpoints_of,
    claim_all,
    find_files,
    find_model,
    get_project,
    jobs_that_need_a_worker,
    live_model_directories,
    metrics_of,
    models_to_purge,
    owned,
)
from server.fine_tuning.lifecycle import NewEvent
from server.ids import ProjectId
from server.vocabulary import EventType, JobStatus
from tests.factories import make_checkpoint, make_file, make_job, make_model
from tests.running_api import make_settings


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path / "home", api_key="test key"))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.authenticate([(b"authorization", b"Bearer test key")]).project_id


def stored(services: Services, job: JobRow) -> JobRow:
    with system_session(services.database) as session:
        return session.exec(select(JobRow).where(JobRow.id == job.id)).one()


NEEDS_A_WORKER: list[tuple[JobStatus, str | None, bool]] = [
    (JobStatus.VALIDATING_FILES, None, True),
    (JobStatus.QUEUED, "start", True),
    (JobStatus.RUNNING, "train", True),
    (JobStatus.SUCCEEDED, "publish", True),
    (JobStatus.FAILED, "clean_up", True),
    (JobStatus.CANCELLED, "train", True),
    (JobStatus.SUCCEEDED, None, False),
    (JobStatus.FAILED, None, False),
    (JobStatus.CANCELLED, None, False),
]


@pytest.mark.parametrize(("status", "stage", "needs_one"), NEEDS_A_WORKER)
def test_a_job_needs_a_worker_until_it_has_ended_and_is_cleaned_up(
    services: Services, project_id: ProjectId, status: JobStatus, stage: str | None, needs_one: bool
) -> None:
    job = make_job(services, project_id, status=status, stage=stage)
    assert [found.id for found in jobs_that_need_a_worker(services.database)] == [job.id] * needs_one
    claim_all(services.database)
    assert stored(services, job).fence == job.fence + needs_one


def test_jobs_come_in_the_order_of_their_creation(services: Services, project_id: ProjectId) -> None:
    made = [make_job(services, project_id).id for _ in range(3)]
    assert [job.id for job in jobs_that_need_a_worker(services.database)] == made


def test_the_owner_writes(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    with owned(services.database, job) as (_, current):
        current.last_step = 5
    assert stored(services, job).last_step == 5


def test_a_write_starts_from_the_job_as_it_is_not_as_it_was_read(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    with owned(services.database, job) as (_, current):
        current.last_step = 3
    with owned(services.database, job) as (_, current):
        assert current.last_step == 3


@pytest.mark.parametrize("status", [JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.CANCELLED])
def test_a_job_that_a_client_gave_another_status_is_not_written_as_what_it_was(
    services: Services, project_id: ProjectId, status: JobStatus
) -> None:
    job = make_job(services, project_id, status=JobStatus.RUNNING)
    with owned(services.database, job) as (_, current):
        current.status = status
    with pytest.raises(LeaseLost), owned(services.database, job):
        pass


def test_a_former_owners_write_is_refused(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    claim_all(services.database)
    with pytest.raises(LeaseLost), owned(services.database, job) as (_, current):
        current.last_step = 5
    assert stored(services, job).last_step == 0


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_that_has_ended_is_written_only_by_who_says_so(
    services: Services, project_id: ProjectId, status: JobStatus
) -> None:
    job = make_job(services, project_id, status=status, stage="clean_up")
    with pytest.raises(LeaseLost), owned(services.database, job):
        pass
    with owned(services.database, job, also_changed=True) as (_, current):
        current.stage = None
    assert stored(services, job).stage is None


def test_a_former_owner_does_not_clean_up_either(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id, status=JobStatus.FAILED, stage="clean_up")
    claim_all(services.database)
    with pytest.raises(LeaseLost), owned(services.database, job, also_changed=True):
        pass


def test_a_job_that_is_gone_cannot_be_written(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    with system_session(services.database, write=True) as session:
        for row in (*session.exec(select(JobEventRow)), session.exec(select(JobRow)).one()):
            session.delete(row)
    with pytest.raises(LeaseLost), owned(services.database, job):
        pass


def test_a_write_that_fails_changes_nothing(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    with suppress(ZeroDivisionError), owned(services.database, job) as (session, current):
        current.last_step = 5
        add_event(session, current, NewEvent("half"), now=1.0)
        session.flush()
        raise ZeroDivisionError
    assert stored(services, job).last_step == 0
    with system_session(services.database) as session:
        assert "half" not in [event.message for event in session.exec(select(JobEventRow))]


def test_files_are_found_until_they_are_deleted_and_only_in_the_jobs_project(
    services: Services, project_id: ProjectId
) -> None:
    validation = make_file(services, project_id)
    job = make_job(services, project_id, validation_file=validation.id)
    files = find_files(services.database, job)
    assert files.training is not None
    assert files.validation is not None
    assert (files.training.id, files.validation.id) == (job.training_file, validation.id)

    foreign = JobRow(**{**job.model_dump(), "project_id": "another"})
    assert find_files(services.database, foreign).training is None
    with system_session(services.database, write=True) as session:
        session.delete(session.exec(select(FileRow).where(FileRow.id == job.training_file)).one())
    files = find_files(services.database, job)
    assert files.training is None
    assert files.validation is not None


def test_a_job_without_a_validation_file_has_none(services: Services, project_id: ProjectId) -> None:
    assert find_files(services.database, make_job(services, project_id)).validation is None


def test_metrics_come_in_the_order_of_their_steps_and_only_the_jobs(services: Services, project_id: ProjectId) -> None:
    job, other = make_job(services, project_id), make_job(services, project_id)
    written: list[dict[str, Any]] = [{"step": step, "train_loss": 1.0} for step in (1, 2, 3)]
    for row, data in [(job, written[0]), (other, {"step": 9}), (job, written[1]), (job, written[2])]:
        with owned(services.database, row) as (session, current):
            add_event(session, current, NewEvent("a message between"), now=1.0)
            add_event(session, current, NewEvent("metrics", type=EventType.METRICS, data=data), now=1.0)
    assert metrics_of(services.database, job) == written


def test_checkpoints_come_newest_first(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    for step in (2, 10, 4):
        make_checkpoint(services, job, step)
    make_checkpoint(services, make_job(services, project_id), 99)
    with system_session(services.database) as session:
        assert [row.step for row in checkpoints_of(session, job)] == [10, 4, 2]


def test_a_models_project_gives_its_name_a_slug(services: Services, project_id: ProjectId) -> None:
    assert get_project(services.database, make_job(services, project_id)).slug == "personal"


def test_a_deleted_models_files_are_to_purge_and_a_live_ones_are_not(services: Services, project_id: ProjectId) -> None:
    live, deleted = make_model(services, project_id), make_model(services, project_id)
    with system_session(services.database, write=True) as session:
        row = find_model(session, deleted.name)
        assert isinstance(row, FineTunedModelRow)
        row.deleted_at = 1
        assert find_model(session, "ft:nobody") is None
    assert [model.name for model in models_to_purge(services.database)] == [deleted.name]
    assert live_model_directories(services.database) == {live.directory}
