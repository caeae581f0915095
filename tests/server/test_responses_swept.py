"""Responses are deleted when their time is over, and the oldest of a project that has more than it may."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.auth.api_keys import create_key, find_caller
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.ids import ProjectId
from server.responses.repository import find_response, list_items
from server.responses.retention import Retention
from server.responses.sweeping import ResponseSweep
from tests.factories import make_response
from tests.running_api import make_settings

DAY_S = 24 * 3600
LONG = "word " * 60_000  # 300 kB
BEGIN = 1_000_000


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path), {})
    yield services
    services.database.dispose()


@pytest.fixture
def project(services: Services) -> ProjectId:
    return services.authenticator.default.project_id


def sweep(services: Services, *, most_mib: int = 0, now: float = BEGIN) -> ResponseSweep:
    return ResponseSweep(services.database, Retention(days=30, most_mib=most_mib), lambda: now)


def left(services: Services, project: ProjectId, ids: list[str]) -> list[bool]:
    with project_session(services.database, project) as session:
        there = [find_response(session, response_id) is not None for response_id in ids]
        assert [bool(list_items(session, [response_id])) for response_id in ids] == there
    return there


def test_at_its_time_and_not_before(services: Services, project: ProjectId) -> None:
    ids = [make_response(services, project, created_at=BEGIN).id]

    assert sweep(services, now=BEGIN + 30 * DAY_S).delete_old(10) == 0
    assert left(services, project, ids) == [True]
    assert sweep(services, now=BEGIN + 30 * DAY_S + 1).delete_old(10) == 1
    assert left(services, project, ids) == [False]


@pytest.mark.parametrize(("most_mib", "n_left"), [(0, 8), (3, 8), (2, 6), (1, 3)])
def test_the_oldest_go_as_far_as_need_be(services: Services, project: ProjectId, most_mib: int, n_left: int) -> None:
    """Each has 300 kB; of another project, and of what is worked on, nothing goes."""
    ids = [make_response(services, project, created_at=BEGIN + n, input=LONG).id for n in range(8)]
    key = create_key(services.database, "theirs").plaintext
    theirs = find_caller(services.database, key.encode())
    assert theirs is not None
    others = [make_response(services, theirs.project_id, created_at=BEGIN).id]

    assert sweep(services, most_mib=most_mib).delete_beyond_bound(100) == 8 - n_left
    assert left(services, project, ids) == [False] * (8 - n_left) + [True] * n_left
    assert left(services, theirs.project_id, others) == [True]
    assert sweep(services, most_mib=most_mib).delete_beyond_bound(100) == 0


def test_what_is_worked_on_stays(services: Services, project: ProjectId) -> None:
    ids = [make_response(services, project, created_at=BEGIN + n, input=LONG, runner="lives").id for n in range(8)]

    assert sweep(services, most_mib=1).delete_beyond_bound(100) == 0
    assert left(services, project, ids) == [True] * 8


def test_a_little_at_a_time(services: Services, project: ProjectId) -> None:
    ids = [make_response(services, project, created_at=BEGIN + n, input=LONG).id for n in range(8)]

    assert [sweep(services, most_mib=1).delete_beyond_bound(2) for _ in range(4)] == [2, 2, 1, 0]
    assert left(services, project, ids) == [False] * 5 + [True] * 3
