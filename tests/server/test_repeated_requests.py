"""Which earlier request a request repeats, and what is kept of one that ended in a fault."""

import json

import pytest
from pydantic import BaseModel

from server.auth.dependencies import ProjectDatabase
from server.db.project_session import ProjectSession
from server.db.tables import RememberedRequestRow
from server.idempotency.asked import Asked
from server.idempotency.once import Once
from server.idempotency.running import KeyInUse, RunningKeys
from server.idempotency.sending import Sending, choose_first
from server.ids import random_base62
from server.request_ids import server_fault
from tests.running_api import Api

NOW = 1_000_000.0


def row(name: str, *, age_s: float = 1, last_retry: int = 0, is_original_seen: bool = True) -> RememberedRequestRow:
    return RememberedRequestRow(
        key_id="key_x",
        operation="o",
        fingerprint="f",
        object_id=name,
        created_at=NOW - age_s,
        last_retry=last_retry,
        is_original_seen=is_original_seen,
    )


@pytest.mark.parametrize(
    ("count", "alike", "chosen"),
    [
        (None, [row("a", is_original_seen=False)], None),
        (0, [], None),
        (0, [row("a")], None),
        (0, [row("a", last_retry=1, is_original_seen=False)], "a"),
        (0, [row("a", age_s=61, last_retry=1, is_original_seen=False)], None),
        (0, [row("b", is_original_seen=False), row("a", is_original_seen=False)], "a"),
        (1, [], None),
        (1, [row("a", age_s=3599)], "a"),
        (1, [row("a", age_s=3600)], None),
        (1, [row("b"), row("a")], "b"),
        (1, [row("b", last_retry=1), row("a")], "a"),
        (1, [row("b", last_retry=1), row("a", last_retry=1)], "b"),
        (2, [row("b"), row("a", last_retry=1)], "a"),
        (2, [row("b", last_retry=3)], "b"),
    ],
)
def test_a_request_repeats_the_one_that_was_counted_least_far_before_it(
    count: int | None, alike: list[RememberedRequestRow], chosen: str | None
) -> None:
    first = choose_first(Sending("key_x", None, count), alike, now=NOW)

    assert (first and first.object_id) == chosen


class Made(BaseModel):
    id: str


def once(api: Api, key: str) -> Once:
    database = ProjectDatabase(api.database, api.project_id)
    return Once(database, Sending("key_x", key), RunningKeys(api.services.locks))


def make(_session: ProjectSession) -> Made:
    return Made(id="x")


def find(_session: ProjectSession, object_id: str) -> Made:
    return Made(id=object_id)


def test_a_fault_after_the_beginning_is_the_answer_to_its_key(api: Api) -> None:
    def break_off(_session: ProjectSession) -> Made:
        raise ZeroDivisionError

    key, asked, fault = random_base62(20), Asked("o", {}), server_fault("req_x")
    first = once(api, key)
    with pytest.raises(ZeroDivisionError):
        first.create(asked, make=break_off, find=find)
    assert first.remember_fault(fault)

    answer = once(api, key).create(asked, make=make, find=find).render()

    assert (answer.status_code, json.loads(answer.body)) == (500, fault.body())
    assert (answer.headers["idempotent-replayed"], answer.headers["x-should-retry"]) == ("true", "false")


def test_a_fault_before_the_beginning_or_without_a_key_is_not_kept(api: Api) -> None:
    assert not once(api, random_base62(20)).remember_fault(server_fault("req_x"))

    without_key = Once(ProjectDatabase(api.database, api.project_id), Sending("key_x"), RunningKeys(api.services.locks))
    without_key.create(Asked("o", {}), make=make, find=find)
    assert not without_key.remember_fault(server_fault("req_x"))


def test_a_key_is_held_until_its_owner_lets_it_go(api: Api) -> None:
    keys, owner, other = RunningKeys(api.services.locks), object(), object()

    with keys.hold("p", "k", owner):
        with keys.hold("p", "k", owner), keys.hold("p", "k2", other), keys.hold("q", "k", other):
            pass
        with pytest.raises(KeyInUse), keys.hold("p", "k", other):
            pass
    with keys.hold("p", "k", other):
        pass


def test_the_order_of_names_does_not_change_a_fingerprint() -> None:
    assert Asked("o", {"a": 1, "b": 2}).fingerprint() == Asked("o", {"b": 2, "a": 1}).fingerprint()
    assert Asked("o", {"a": 1}).fingerprint() != Asked("p", {"a": 1}).fingerprint()
    assert Asked("o", {"a": 1}).fingerprint() != Asked("o", {"a": "1"}).fingerprint()
