"""How long stored completions are kept, and how many: by setting and by project."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.commands.repository import set_limits
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.errors import InsufficientStorage
from server.ids import ProjectId
from server.stored_completions import repository
from server.stored_completions.repository import Wanted
from server.stored_completions.service import PageRequest, list_completions, update_metadata
from server.sweeper import Sweeper
from tests.factories import make_completion, make_completion_export
from tests.running_api import make_settings

DAY_S = 24 * 3600
NOW = 1_800_000_000
MIB = 1024**2


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path, stored_completion_mib=2))
    yield services
    services.database.dispose()


def project(services: Services, name: str, **limits: int | None) -> ProjectId:
    key = create_key(services.database, name).plaintext
    set_limits(services.database, name, limits)
    return services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())]).project_id


def stored(services: Services, project_id: ProjectId) -> list[str]:
    with project_session(services.database, project_id) as session:
        return [row.id for row in list_completions(session, PageRequest(None, 1000, ascending=True), {}).rows]


def total(services: Services, project_id: ProjectId) -> tuple[int, int]:
    """As it is kept, and as it is."""
    with project_session(services.database, project_id) as session:
        sized = repository.list_sized(session, Wanted(), beyond=None, limit=1000, ascending=True)
        return repository.total_bytes(session, project_id), sum(one.size_bytes for one in sized)


def sweep(services: Services, now: float) -> None:
    Sweeper(services.database, services.blobs, services.tokens, services.settings, lambda: now).sweep_expired()


@pytest.mark.parametrize(("own", "days"), [(None, 30), (7, 7), (0, None)])
def test_completions_go_when_their_time_is_over(services: Services, own: int | None, days: int | None) -> None:
    mine = project(services, "mine", stored_completion_days=own)
    old, young = (make_completion(services, mine, created_at=NOW + later, metadata={"a": "b"}) for later in (0, 1))
    sweep(services, NOW + (days or 30) * DAY_S)
    assert stored(services, mine) == [old, young]

    sweep(services, NOW + (days or 3000) * DAY_S + 1)
    assert stored(services, mine) == ([old, young] if days is None else [young])
    kept, real = total(services, mine)
    assert kept == real


def test_more_than_one_sweeps_worth_goes_in_bounded_steps(services: Services) -> None:
    mine, theirs = project(services, "mine"), project(services, "theirs")
    for _ in range(205):
        make_completion(services, mine, created_at=NOW)
    kept = make_completion(services, theirs, created_at=NOW + DAY_S)
    sweep(services, NOW + 30 * DAY_S + 1)
    assert (stored(services, mine), stored(services, theirs)) == ([], [kept])
    assert total(services, mine) == (0, 0)


def test_the_oldest_make_room(services: Services) -> None:
    mine, theirs = project(services, "mine"), project(services, "theirs")
    other = make_completion(services, theirs, created_at=1)
    made = [make_completion(services, mine, created_at=NOW + n, text="x" * (MIB // 2)) for n in range(8)]

    assert stored(services, mine) == made[-3:]
    assert stored(services, theirs) == [other]
    kept, real = total(services, mine)
    assert kept == real <= 2 * MIB


def test_a_projects_own_bound_counts(services: Services) -> None:
    roomy = project(services, "roomy", stored_completion_mib=4)
    boundless = project(services, "boundless", stored_completion_mib=0)
    for n in range(8):
        make_completion(services, roomy, created_at=NOW + n, text="x" * (MIB // 2))
        make_completion(services, boundless, created_at=NOW + n, text="x" * (MIB // 2))
    assert (len(stored(services, roomy)), len(stored(services, boundless))) == (7, 8)


def test_a_completion_that_is_larger_than_all_may_be_is_refused_and_nothing_makes_room(services: Services) -> None:
    mine = project(services, "mine")
    made = make_completion(services, mine)
    with pytest.raises(InsufficientStorage, match="without 'store'"):
        make_completion(services, mine, text="x" * 3 * MIB)
    assert stored(services, mine) == [made]


def test_a_bound_that_is_lowered_is_kept_by_the_sweeper_and_never_at_one_requests_cost(services: Services) -> None:
    mine = project(services, "mine", stored_completion_mib=0)
    made = [make_completion(services, mine, created_at=NOW + n, text="x" * MIB) for n in range(5)]
    set_limits(services.database, "mine", {"stored_completion_mib": 3})
    made.append(make_completion(services, mine, created_at=NOW + 9, text="x" * (MIB // 2)))
    assert stored(services, mine) == made[1:]

    sweep(services, NOW)
    kept, real = total(services, mine)
    assert kept == real <= 3 * MIB
    assert stored(services, mine) == made[-3:]


def test_what_metadata_takes_is_counted(services: Services) -> None:
    mine = project(services, "mine")
    made = make_completion(services, mine, metadata={"a": "b"})
    before, _ = total(services, mine)
    with project_session(services.database, mine, write=True) as session:
        update_metadata(session, made, {"key": "v" * 500})
    kept, real = total(services, mine)
    assert kept == real > before + 500


def test_the_place_of_what_is_gone_is_forgotten_after_a_day_and_an_export_after_thirty(services: Services) -> None:
    mine = project(services, "mine")
    gone = make_completion(services, mine, created_at=NOW)
    make_completion_export(services, mine, created_at=NOW)

    def left(now: float) -> tuple[bool, bool]:
        sweep(services, now)
        with project_session(services.database, mine) as session:
            is_known = repository.find_position(session, gone) is not None
        with system_session(services.database) as session:
            exports: Any = session.connection().exec_driver_sql("SELECT count(*) FROM completion_export").scalar()
        return is_known, bool(exports)

    due = NOW + 30 * DAY_S
    assert left(due) == (True, True)
    assert left(due + 1) == (True, False)
    assert left(due + 1 + DAY_S) == (True, False)
    assert left(due + 2 + DAY_S) == (False, False)
