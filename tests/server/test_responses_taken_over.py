"""Responses in the background that no process works on any more: each is taken over once, and not for ever."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.responses.keeping import RUNNER
from server.responses.repository import find_response
from server.responses.taking_over import take_over
from tests.factories import make_response
from tests.running_api import make_settings


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path), {})
    yield services
    services.database.dispose()


def leave(services: Services, runner: str, n: int = 1, n_runners: int = 1) -> list[str]:
    project = services.authenticator.default.project_id
    return [make_response(services, project, runner=runner, n_runners=n_runners).id for _ in range(n)]


def state_of(services: Services, response_id: str) -> tuple[str, str | None]:
    """Its status, and who is to work on it."""
    with project_session(services.database, services.authenticator.default.project_id) as session:
        row = find_response(session, response_id)
        assert row is not None
        return row.status, row.runner


def test_each_is_taken_by_one_of_many_that_look_at_once(services: Services) -> None:
    left = leave(services, "killed", n=30)
    takers = [f"taker {n}" for n in range(6)]
    held = [services.locks.take(RUNNER, taker) for taker in takers]
    with ThreadPoolExecutor(len(takers)) as threads:
        taken = list(threads.map(lambda taker: take_over(services.database, services.locks, taker, ()), takers))

    assert Counter(one.response_id for some in taken for one in some) == Counter(left)
    for taker, some in zip(takers, taken, strict=True):
        assert all(state_of(services, one.response_id) == ("queued", taker) for one in some)
    assert all(holding is not None for holding in held)


def test_what_a_living_process_has_is_left_alone(services: Services) -> None:
    (theirs,) = leave(services, "lives")
    held = services.locks.take(RUNNER, "lives")
    assert take_over(services.database, services.locks, "mine", ()) == []
    assert state_of(services, theirs) == ("queued", "lives")
    assert held is not None


def test_of_its_own_a_process_begins_again_with_what_it_does_not_work_on(services: Services) -> None:
    """The end of that one could not be written down."""
    under_way, lost = leave(services, "mine", n=2)
    held = services.locks.take(RUNNER, "mine")
    (taken,) = take_over(services.database, services.locks, "mine", {under_way})

    assert taken.response_id == lost
    assert json.loads(taken.asked)["input"] == "Hello"
    assert (taken.project_id, taken.key_id) == (services.authenticator.default.project_id, "key_1")
    assert held is not None


def test_what_ends_one_process_after_the_other_is_given_up(services: Services) -> None:
    (response_id,) = leave(services, "killed")
    n_taken = 0
    while taken := take_over(services.database, services.locks, f"killed {n_taken}", ()):
        assert [one.response_id for one in taken] == [response_id]
        n_taken += 1
        assert n_taken < 20

    assert n_taken == 9
    assert state_of(services, response_id) == ("failed", None)
