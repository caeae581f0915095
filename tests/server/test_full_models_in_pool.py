"""Full models in the parent's pool: an engine of their own when they are asked, and none once they are deleted."""

import time

import pytest
from sqlmodel import select

from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow, JobRow, ProjectRow
from server.fine_tuning.full_models import read_engine_sizes, read_full_models
from server.fine_tuning.stages import Stage
from server.placement.facts import EngineState, Patience, Why
from server.placement.repository import Demand, placing, read_engines, report_demand
from server.vocabulary import JobStatus
from tests.server.test_engine_pool import FAST, MakePool, Pool, make_pool

__all__ = ["make_pool"]

FULL = "ft:a:p:whole:abcd1234"
PENDING = "ft:a:p:whole:efgh5678"


def job(**columns: object) -> JobRow:
    return JobRow(
        id="j1", project_id="p", created_at=0, requested_model="a", base_model="a", training_file="f",
        seed=1, method="supervised", requested_hyperparameters={}, **columns,
    )  # fmt: skip


def add(pool: Pool, *, base_model: str = "a", is_full: bool = True) -> None:
    with system_session(pool.database, write=True) as session:
        session.merge(ProjectRow(id="p", name="p", organization_id="o", slug="p", created_at=0))
        session.add(job(status=JobStatus.SUCCEEDED))
        session.flush()
        session.add(
            FineTunedModelRow(
                project_id="p", name=FULL, job_id="j1", base_model=base_model, directory="abcd1234", rank=0,
                is_full=is_full, created_at=0,
            )
        )  # fmt: skip


def delete(pool: Pool) -> None:
    with system_session(pool.database, write=True) as session:
        session.exec(select(FineTunedModelRow)).one().deleted_at = 1


def is_known(pool: Pool) -> bool:
    with placing(pool.database) as session:
        return FULL in read_engines(session)


def until_ready(pool: Pool, name: str) -> None:
    """As a request waits: it says so again and again."""

    def is_ready() -> bool:
        pool.ask(name, waiting=1)
        return pool.standing(name).state is EngineState.READY

    pool.until(is_ready)


def test_it_starts_when_it_is_asked_beside_its_base_and_its_engine_ends_with_it(make_pool: MakePool) -> None:
    pool = make_pool("a", budget=8)
    pool.until_states("ready")
    add(pool)
    pool.until(lambda: is_known(pool))
    pool.go_on()
    assert (pool.standing(FULL).state, pool.standing(FULL).why) == (EngineState.STOPPED, Why.ON_DEMAND)
    until_ready(pool, FULL)
    assert pool.states() == "ready"
    process = pool.members[FULL].child.process

    delete(pool)
    pool.until(lambda: not is_known(pool))
    assert process is not None
    assert process.poll() is not None
    assert not pool.members[FULL].socket.exists()
    assert pool.states() == "ready"
    pool.ask(FULL, waiting=1)
    pool.go_on()
    assert not is_known(pool), "who still asks starts nothing"


def test_where_memory_is_for_one_it_takes_the_place_of_its_base_and_gives_it_back(make_pool: MakePool) -> None:
    pool = make_pool("a", budget=4)
    add(pool)
    pool.until_states("ready")
    pool.until(lambda: is_known(pool))
    until_ready(pool, FULL)
    assert (pool.standing("a").state, pool.standing("a").detail) == (EngineState.STOPPED, f"for {FULL}")
    pool.ask(FULL)
    until_ready(pool, "a")
    assert pool.standing(FULL).state is EngineState.STOPPED


def test_one_that_nobody_asks_is_stopped_like_any_other(make_pool: MakePool) -> None:
    pool = make_pool("a", patience=Patience(idle_s=0.3, give_way_s=0.0, settle_s=0.0))
    add(pool)
    pool.until(lambda: is_known(pool))
    until_ready(pool, FULL)
    pool.ask(FULL)
    pool.until(lambda: pool.standing(FULL).state is EngineState.STOPPED)
    assert pool.standing(FULL).why is Why.IDLE


def test_after_the_service_was_killed_it_waits_to_be_asked_again(make_pool: MakePool) -> None:
    pool = make_pool("a")
    add(pool)
    pool.until(lambda: is_known(pool))
    until_ready(pool, FULL)
    pool.stop()
    pool.start()
    pool.until_states("ready")
    pool.go_on()
    assert pool.standing(FULL).state is EngineState.STOPPED


def test_one_that_cannot_be_started_ends_nothing_and_is_tried_again_when_it_is_asked_again(make_pool: MakePool) -> None:
    patience = Patience(idle_s=0.0, give_way_s=0.0, settle_s=0.0, failed_s=0.2)
    pool = make_pool("z", dies=FULL, patience=patience)
    add(pool, base_model="z")
    pool.until_states("ready")
    pool.until(lambda: is_known(pool))
    pool.ask(FULL, waiting=1)
    pool.until(lambda: pool.standing(FULL).state is EngineState.FAILED)
    failed_at = pool.standing(FULL).since
    with placing(pool.database, write=True) as session:  # who asked was refused, and waits no more
        report_demand(session, "api-1", [Demand(FULL, failed_at - 1, 0, 0.0, 0)], time.time())
    pool.until(lambda: pool.standing(FULL).state is EngineState.FAILED)
    failed_at = pool.standing(FULL).since
    pool.go_on()
    assert pool.standing(FULL).since == failed_at, "nobody asked"
    pool.ask(FULL)
    pool.until(lambda: pool.standing(FULL).since != failed_at)
    assert pool.states() == "ready"


def test_an_adapter_has_no_engine_of_its_own_nor_has_a_model_without_a_base(make_pool: MakePool) -> None:
    pool = make_pool("a")
    add(pool, is_full=False)
    pool.until_states("ready")
    assert not is_known(pool)
    with system_session(pool.database, write=True) as session:
        row = session.exec(select(FineTunedModelRow)).one()
        row.is_full, row.base_model = True, "gone"
    pool.go_on()
    assert not is_known(pool)


@pytest.mark.parametrize(
    ("stage", "settings", "is_there"),
    [
        (Stage.PUBLISH, {"trains_all": True}, True),
        (Stage.TRAIN, {"trains_all": True}, False),
        (Stage.PUBLISH, {"lora_rank": 8}, False),
    ],
)
def test_one_that_is_being_published_can_be_asked_by_who_publishes_it(
    make_pool: MakePool, stage: Stage, settings: dict[str, object], is_there: bool
) -> None:
    pool = make_pool("a")
    with system_session(pool.database, write=True) as session:
        session.merge(ProjectRow(id="p", name="p", organization_id="o", slug="p", created_at=0))
        session.add(job(status=JobStatus.RUNNING, stage=stage, training_settings=settings, pending_model=PENDING))
    with placing(pool.database) as session:
        assert (PENDING in read_full_models(session)) == is_there


def test_an_engine_counts_until_it_is_gone_though_its_model_is_deleted(make_pool: MakePool) -> None:
    pool = make_pool("a", patience=FAST)
    add(pool)
    pool.until(lambda: is_known(pool))
    until_ready(pool, FULL)
    delete(pool)
    with placing(pool.database) as session:
        assert [size.base_model for size in read_engine_sizes(session, pool.placement.sizes)] == ["a", FULL]
    pool.until(lambda: not is_known(pool))
    with placing(pool.database) as session:
        assert [size.base_model for size in read_engine_sizes(session, pool.placement.sizes)] == ["a"]
