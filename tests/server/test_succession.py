"""Which of a job's models takes over which name of the imported job that it repeats."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.engine import AdapterRef
from server.auth.api_keys import create_key, find_caller
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import JobRow
from server.fine_tuning.publishing.succession import Lineage, successors, take_over_names
from server.ids import ProjectId
from server.models.repository import add_fine_tuned_model, list_aliases, set_alias_of
from server.vocabulary import JobStatus
from tests.factories import make_checkpoint, make_job, make_model
from tests.job_rig import MakeRig
from tests.running_api import make_settings

_OLD = "ft:gpt-4o-mini-2024-07-18:acme::AAAAAAAA"


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.default.project_id


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Lineage("o", 1, []), Lineage("n", 1, []), {"o": "n"}),
        (Lineage(None, 1, []), Lineage("n", 1, []), {}),
        (Lineage("o", 1, []), Lineage(None, 1, []), {}),
        pytest.param(
            Lineage("o", 3, [(30, "o"), (20, "o20"), (10, "o10")]),
            Lineage("n", 3, [(9, "n"), (6, "n6"), (3, "n3")]),
            {"o": "n", "o20": "n6", "o10": "n3"},
            id="after equal parts of the training, whatever a step is",
        ),
        pytest.param(
            Lineage("o", 3, [(30, "o"), (20, "o20")]),
            Lineage("n", 2, [(20, "n"), (10, "n10")]),
            {"o": "n"},
            id="other epochs",
        ),
        pytest.param(
            Lineage("o", 3, [(30, "o"), (7, "o7")]), Lineage("n", 3, [(30, "n")]), {"o": "n"}, id="a pause's checkpoint"
        ),
    ],
)
def test_models_are_paired_with_those_after_the_same_part_of_an_equal_training(
    old: Lineage, new: Lineage, expected: dict[str, str]
) -> None:
    assert successors(old, new) == expected


def test_the_name_and_its_checkpoints_stand_for_the_new_models(services: Services, project_id: ProjectId) -> None:
    old, new = _repeated(services, project_id)
    at_half = make_checkpoint(services, old, 5).model_name
    make_checkpoint(services, old, 10)
    local = _add_model(services, new, make_checkpoint(services, new, 1).model_name)
    make_checkpoint(services, new, 2)

    assert _take_over(services, new) == [(at_half, local), (_OLD, new.fine_tuned_model)]
    assert _aliases(services, project_id) == {at_half: local, _OLD: new.fine_tuned_model}


def test_a_name_that_an_operator_gave_to_another_model_stays(services: Services, project_id: ProjectId) -> None:
    _, new = _repeated(services, project_id)
    other = make_model(services, project_id).name
    _set_alias(services, project_id, other)
    assert _take_over(services, new) == []
    assert _aliases(services, project_id) == {_OLD: other}


def test_a_name_whose_model_is_gone_is_free(services: Services, project_id: ProjectId) -> None:
    _, new = _repeated(services, project_id)
    _set_alias(services, project_id, "ft:tunesmith-demo:personal::gone0000")
    assert _take_over(services, new) == [(_OLD, new.fine_tuned_model)]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.RUNNING])
def test_a_job_that_did_not_succeed_takes_nothing_over(
    services: Services, project_id: ProjectId, status: JobStatus
) -> None:
    _, new = _repeated(services, project_id, status=status)
    assert _take_over(services, new) == []


def test_a_job_of_another_project_takes_nothing_over(services: Services, project_id: ProjectId) -> None:
    other = find_caller(services.database, create_key(services.database, "other").plaintext.encode())
    assert other is not None
    old = _imported(services, other.project_id)
    new = make_job(services, project_id, rerun_of=old.id, status=JobStatus.SUCCEEDED)
    assert _take_over(services, _with_model(services, new)) == []


def test_the_worker_hands_the_name_over_when_the_repetition_succeeds(make_rig: MakeRig) -> None:
    rig = make_rig()
    old = _imported(rig.services, rig.project_id)
    done = rig.finish(rig.make_job(rerun_of=old.id))
    assert _aliases(rig.services, rig.project_id) == {_OLD: done.fine_tuned_model}
    assert f"{_OLD} now stands for {done.fine_tuned_model}" in rig.messages(done)


def _imported(services: Services, project_id: ProjectId) -> JobRow:
    columns: dict[str, Any] = {"origin": "openai", "fine_tuned_model": _OLD, "hyperparameters": {"n_epochs": 2}}
    return make_job(services, project_id, status=JobStatus.SUCCEEDED, **columns)


def _repeated(
    services: Services, project_id: ProjectId, status: JobStatus = JobStatus.SUCCEEDED
) -> tuple[JobRow, JobRow]:
    old = _imported(services, project_id)
    new = make_job(services, project_id, rerun_of=old.id, status=status, hyperparameters={"n_epochs": 2})
    return old, _with_model(services, new)


def _with_model(services: Services, job: JobRow) -> JobRow:
    name = _add_model(services, job, f"ft:tunesmith-demo:personal::{job.id[-8:]}")
    with system_session(services.database, write=True) as session:
        row = session.get_one(JobRow, job.id)
        row.fine_tuned_model = name
    return row


def _add_model(services: Services, job: JobRow, name: str) -> str:
    with system_session(services.database, write=True) as session:
        adapter = AdapterRef(name, job.base_model, services.settings.adapters / job.id, 8, "5" * 64)
        add_fine_tuned_model(session, job, adapter, now=time.time())
    return name


def _set_alias(services: Services, project_id: ProjectId, target: str) -> None:
    with system_session(services.database, write=True) as session:
        set_alias_of(session, project_id, _OLD, target, now=0)


def _take_over(services: Services, job: JobRow) -> list[tuple[str, str]]:
    with system_session(services.database, write=True) as session:
        return take_over_names(session, session.get_one(JobRow, job.id), now=time.time())


def _aliases(services: Services, project_id: ProjectId) -> dict[str, str]:
    with project_session(services.database, project_id) as session:
        return {row.name: row.target for row in list_aliases(session)}
