"""Metrics that are passed on: what is asked for, when a process is needed, and what becomes of it."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from server.bootstrap import Services, build_services
from server.commands.repository import set_wandb_key
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import IntegrationRow, JobEventRow, JobRow
from server.errors import InvalidRequest
from server.fine_tuning.job_changes import add_event
from server.fine_tuning.lifecycle import NewEvent
from server.fine_tuning.service import pause_job
from server.ids import ProjectId
from server.integrations import service, wandb_run
from server.integrations.feeding import FedProcess
from server.integrations.follower import Act, IntegrationFollower, choose
from server.integrations.schemas import IntegrationRequest
from server.vocabulary import EventType, JobStatus
from tests.factories import make_job
from tests.running_api import make_settings
from tests.wandb_files import history, read_records

WANDB = [{"type": "wandb", "wandb": {"project": "support", "entity": None, "name": None, "tags": ["blue"]}}]
RECORDER = """
import json, sys
with open("said.jsonl", "a") as said:
    for line in sys.stdin:
        said.write(line)
        said.flush()
        if "end" in json.loads(line):
            sys.exit(0)
sys.exit(1)
"""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(replace(make_settings(tmp_path), wandb_mode="offline"))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.default.project_id


@pytest.mark.parametrize(
    ("status", "has_metrics", "is_running", "is_due", "expected"),
    [
        (JobStatus.VALIDATING_FILES, False, False, True, Act.WAIT),
        (JobStatus.QUEUED, False, False, True, Act.WAIT),
        (JobStatus.RUNNING, False, False, True, Act.WAIT),
        (JobStatus.RUNNING, True, False, True, Act.START),
        (JobStatus.RUNNING, True, False, False, Act.WAIT),
        (JobStatus.RUNNING, True, True, True, Act.FEED),
        (JobStatus.QUEUED, True, True, True, Act.FEED),
        (JobStatus.PAUSED, True, True, True, Act.CLOSE),
        (JobStatus.PAUSED, True, False, True, Act.WAIT),
        (JobStatus.FAILED, False, False, True, Act.FORGET),
        (JobStatus.CANCELLED, False, False, False, Act.FORGET),
        (JobStatus.FAILED, True, False, True, Act.START),
        (JobStatus.SUCCEEDED, True, False, True, Act.START),
        (JobStatus.SUCCEEDED, True, True, True, Act.FEED),
    ],
)
def test_what_an_integration_needs(
    status: JobStatus, has_metrics: bool, is_running: bool, is_due: bool, expected: Act
) -> None:
    assert choose(status, has_metrics=has_metrics, is_running=is_running, is_due=is_due) == expected


def test_a_project_without_a_key_is_told_who_sets_it(services: Services, project_id: ProjectId) -> None:
    asked = [IntegrationRequest.model_validate(WANDB[0])]
    with project_session(services.database, project_id) as session:
        with pytest.raises(InvalidRequest, match="tunesmith projects wandb-key"):
            service.check(session, asked, needs_key=True)
        service.check(session, [], needs_key=True)
        service.check(session, asked, needs_key=False)

    assert set_wandb_key(services.database, "default", "the key")
    with project_session(services.database, project_id) as session:
        service.check(session, asked, needs_key=True)


def test_two_that_would_be_the_same_run_are_refused(services: Services, project_id: ProjectId) -> None:
    other = {"type": "wandb", "wandb": {"project": "support", "entity": "team"}}
    asked = [IntegrationRequest.model_validate(item) for item in (WANDB[0], other, WANDB[0])]
    with project_session(services.database, project_id) as session:
        service.check(session, asked[:2], needs_key=False)
        with pytest.raises(InvalidRequest) as refusal:
            service.check(session, asked, needs_key=False)
    assert refusal.value.param == "integrations[2]"


def test_a_run_is_named_and_described_after_its_job(services: Services, project_id: ProjectId, tmp_path: Path) -> None:
    job = make_job(services, project_id, integrations=WANDB)
    opening = wandb_run.opening(job, 0, services.settings, tmp_path)
    assert (opening["run_id"], opening["name"], opening["project"]) == (job.id, job.id, "support")
    assert opening["tags"] == ["openai/finetune", f"openai/{job.requested_model}", f"openai/{job.id}", "blue"]
    assert set(opening["config"]) == {"model", "training_file", "validation_file", "hyperparameters", "seed"}


def test_the_process_gets_no_key_but_the_projects(tmp_path: Path) -> None:
    inherited = {"PATH": "/bin", "WANDB_API_KEY": "operator's", "TUNESMITH_ADMIN_KEY": "a", "OPENAI_API_KEY": "b"}
    given = wandb_run.environment(inherited, tmp_path, "project's")
    assert given == {
        "PATH": "/bin",
        "WANDB_API_KEY": "project's",
        "HOME": str(tmp_path),
        "NETRC": "/dev/null",
        "WANDB_ERROR_REPORTING": "false",
    }
    assert "WANDB_API_KEY" not in wandb_run.environment(inherited, tmp_path, None)


def test_metrics_go_out_in_order_and_the_end_is_told(services: Services, project_id: ProjectId) -> None:
    job = _running_job(services, project_id)
    follower = _follower(services)
    _log_steps(services, job, 1, 2)
    _work(follower, lambda: len(_said(services, job)) == 3)
    _log_steps(services, job, 3)
    _end(services, job)
    _work(follower, lambda: _integration(services, job).is_finished)

    opening, *steps, end = _said(services, job)
    assert opening["run_id"] == job.id
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert steps[0]["metrics"] == {"train_loss": 0.5}
    assert end == {
        "end": {"exit_code": 0, "summary": {"status": "succeeded", "trained_tokens": 7, "fine_tuned_model": "ft:x"}}
    }


def test_a_new_process_is_told_everything_again(services: Services, project_id: ProjectId) -> None:
    """As after a kill of the worker: it held nothing."""
    job = _running_job(services, project_id)
    _log_steps(services, job, 1)
    former = _follower(services)
    _work(former, lambda: len(_said(services, job)) == 2)
    former.close()
    _log_steps(services, job, 2)
    _end(services, job)
    follower = _follower(services)
    _work(follower, lambda: _integration(services, job).is_finished)

    said = _said(services, job)
    assert [line.get("step") for line in said] == [None, 1, None, 1, 2, None]


def test_a_paused_job_has_no_process(services: Services, project_id: ProjectId) -> None:
    job = _running_job(services, project_id)
    _log_steps(services, job, 1)
    follower = _follower(services)
    _work(follower, lambda: len(_said(services, job)) == 2)
    with project_session(services.database, project_id, write=True) as session:
        pause_job(session, job.id)
    _work(follower, lambda: not follower.n_processes)

    _set_status(services, job, JobStatus.RUNNING)
    _end(services, job)
    _work(follower, lambda: _integration(services, job).is_finished)
    assert [line.get("step") for line in _said(services, job)] == [None, 1, None, 1, None]


def test_what_cannot_be_passed_on_is_tried_again_and_in_the_end_given_up(
    services: Services, project_id: ProjectId
) -> None:
    job = _running_job(services, project_id)
    _log_steps(services, job, 1)
    now = [1_800_000_000.0]
    follower = _follower(services, command=(sys.executable, "-c", "raise SystemExit(1)"), clock=lambda: now[0])

    def work() -> bool:
        now[0] += 60.0
        return _integration(services, job).is_finished

    _work(follower, work)

    warnings = [event.message for event in _events(services, job) if event.level == "warn"]
    assert len(warnings) == 2
    assert "tries again" in warnings[0]
    assert "could not be passed on" in warnings[1]
    assert _job(services, job).status is JobStatus.RUNNING


def test_a_job_that_never_trained_is_forgotten(services: Services, project_id: ProjectId) -> None:
    job = _running_job(services, project_id)
    _set_status(services, job, JobStatus.FAILED)
    follower = _follower(services, command=("/does/not/exist",))
    _work(follower, lambda: _integration(services, job).is_finished)


def test_a_process_that_takes_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    process = FedProcess(
        (sys.executable, "-c", "import time; time.sleep(60)"), directory=tmp_path, environment={"PATH": "/bin"}
    )
    for step in range(200):
        process.say({"step": step, "metrics": {"padding": "x" * 1000}})
    before = time.monotonic()
    process.push()
    assert not process.push()
    assert time.monotonic() - before < 5
    assert not process.is_drained
    process.kill()
    assert process.poll() == -9


def test_a_run_is_really_logged_by_the_library(services: Services, project_id: ProjectId) -> None:
    """Offline, into a file that the library itself can send later."""
    job = _running_job(services, project_id)
    _log_steps(services, job, 1, 2, 3)
    _end(services, job)
    follower = IntegrationFollower(services.database, services.settings)
    _work(follower, lambda: _integration(services, job).is_finished, timeout_s=60)

    records = read_records(services.settings.wandb / f"{job.id}-0")
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.project, list(run.tags)[-1]) == (job.id, "support", "blue")
    logged = history(records)
    assert [(step["_step"], step["train_loss"]) for step in logged] == [("1", "0.5"), ("2", "0.5"), ("3", "0.5")]


def _running_job(services: Services, project_id: ProjectId) -> JobRow:
    job = make_job(services, project_id, integrations=WANDB, status=JobStatus.RUNNING)
    with system_session(services.database, write=True) as session:
        session.add(IntegrationRow(project_id=project_id, job_id=job.id, position=0, type="wandb"))
    return job


def _follower(services: Services, **options: Any) -> IntegrationFollower:
    return IntegrationFollower(
        services.database, services.settings, **{"command": (sys.executable, "-c", RECORDER), **options}
    )


def _work(follower: IntegrationFollower, probe: Callable[[], bool], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < deadline, "worked in vain"
        follower.tick()


def _log_steps(services: Services, job: JobRow, *steps: int) -> None:
    with system_session(services.database, write=True) as session:
        for step in steps:
            data = {"step": step, "train_loss": 0.5}
            add_event(session, job, NewEvent("Step", type=EventType.METRICS, data=data), now=0)


def _end(services: Services, job: JobRow) -> None:
    with system_session(services.database, write=True) as session:
        row = session.get_one(JobRow, job.id)
        row.status, row.trained_tokens, row.fine_tuned_model = JobStatus.SUCCEEDED, 7, "ft:x"


def _set_status(services: Services, job: JobRow, status: JobStatus) -> None:
    with system_session(services.database, write=True) as session:
        session.get_one(JobRow, job.id).status = status


def _job(services: Services, job: JobRow) -> JobRow:
    with system_session(services.database) as session:
        return session.get_one(JobRow, job.id)


def _integration(services: Services, job: JobRow) -> IntegrationRow:
    with system_session(services.database) as session:
        return session.get_one(IntegrationRow, 1)


def _events(services: Services, job: JobRow) -> list[JobEventRow]:
    with system_session(services.database) as session:
        return list(
            session.exec(select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(col(JobEventRow.seq)))
        )


def _said(services: Services, job: JobRow) -> list[dict[str, Any]]:
    path = services.settings.wandb / f"{job.id}-0" / "said.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]
