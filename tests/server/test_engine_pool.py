"""The parent's pool with processes that only say they are healthy: started when asked, and away when they should be."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from server.child import Child, ChildCommand
from server.db.engine import open_database, writing
from server.db.migrate import migrate
from server.db.system_session import system_session
from server.db.tables import JobRow, ProjectRow
from server.engine_member import Member
from server.engine_pool import EnginePool, Pace
from server.fine_tuning.placing import admit
from server.fine_tuning.stages import Stage
from server.launchers.launcher import NoCapacity
from server.placement.facts import EngineState, Patience, Policy, Resources, Why
from server.placement.repository import Demand, placing, read_engines, report_demand
from server.placement.sizing import EngineSize, Placement
from server.placement.standing import Standing
from server.starting import ServeFailed
from server.vocabulary import JobStatus

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20.0
FAST = Patience(idle_s=0.0, give_way_s=0.0, settle_s=0.0, pause_s=0.0)


class Pool:
    """A pool of processes `a`, `b` … in a home of its own, ticked by the test."""

    def __init__(self, home: Path, names: str, *, policy: Policy, budget: int, patience: Patience, dies: str) -> None:
        self.home = home
        self.names = names
        migrate(home / "t.db")
        self.database: Engine = open_database(home / "t.db", 100)
        sizes = tuple(EngineSize(name, 4) for name in names)
        self.placement = Placement(policy, Resources(1, {0: budget}, {0: None}), patience, sizes)
        self.dies = dies
        self.start()

    def start(self) -> None:
        """As the service starts, also after it was killed."""
        self.members = {name: self._member(name) for name in self.names}
        self.pool = EnginePool(
            list(self.members.values()),
            self.placement,
            self.database,
            start_timeout_s=WITHIN_S,
            member_of=self._full_member,
            pace=Pace(decide_s=0.05, probe_starting_s=0.05, notice_s=0.0, drain_s=0.5),
        )
        self.pool.start_over()

    def _full_member(self, size: EngineSize, base_model: str) -> Member:
        assert base_model in self.names
        self.members[size.base_model] = self._member(size.base_model, is_full=True)
        return self.members[size.base_model]

    def _member(self, name: str, *, is_full: bool = False) -> Member:
        socket = self.home / f"{name[-8:]}.sock"
        argv = [
            sys.executable,
            "-m",
            "tests.fake_engine_process",
            str(socket),
            "0",
            "dies" if name in self.dies else "",
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = ChildCommand(
            f"the engine of {name}",
            argv,
            environment,
            self.home / f"{name}.log",
            (),
            before_start=lambda: socket.unlink(missing_ok=True),
        )
        return Member(name, Child(command), socket, is_full=is_full)

    def until(self, probe: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not probe():
            assert time.monotonic() < deadline, self.states()
            self.pool.tick()
            time.sleep(0.01)

    def go_on(self) -> None:
        """For long enough that it would have been seen to start something."""
        began = time.monotonic()
        self.until(lambda: time.monotonic() - began > 0.3)

    def until_states(self, expected: str) -> None:
        self.until(lambda: self.states() == expected)

    def states(self) -> str:
        """`ready stopped`, as the rows say."""
        with placing(self.database) as session:
            standings = read_engines(session)
        return " ".join(standings[name].state for name in self.names)

    def standing(self, name: str) -> Standing:
        with placing(self.database) as session:
            return read_engines(session)[name]

    def ask(self, name: str, *, waiting: int = 0, active: int = 0) -> None:
        now = time.time()
        with placing(self.database, write=True) as session:
            report_demand(session, "api-1", [Demand(name, now, waiting, now, active)], now)

    def add_job(self, name: str) -> None:
        with system_session(self.database, write=True) as session:
            session.merge(ProjectRow(id="p", name="p", organization_id="o", slug="p", created_at=0))
            session.add(
                JobRow(
                    id=name, project_id="p", created_at=0, requested_model="a", base_model="a", training_file="f",
                    seed=1, method="supervised", requested_hyperparameters={}, status=JobStatus.QUEUED,
                    stage=Stage.START,
                )
            )  # fmt: skip

    def start_job(self, name: str) -> bool:
        """As the worker does: False if it is not its turn."""
        with system_session(self.database, write=True) as session:
            job = session.get_one(JobRow, name)
            try:
                admit(session, job, self.placement, time.time())
            except NoCapacity:
                return False
            job.status, job.stage = JobStatus.RUNNING, Stage.TRAIN
        return True

    def end_job(self, name: str) -> None:
        with system_session(self.database, write=True) as session:
            job = session.get_one(JobRow, name)
            job.status, job.stage = JobStatus.SUCCEEDED, None

    def kill(self, name: str) -> None:
        process = self.members[name].child.process
        assert process is not None
        process.kill()

    def running(self) -> str:
        return "".join(name for name, member in self.members.items() if member.child.process is not None)

    def stop(self) -> None:
        for child in self.pool.children:
            child.ask_to_stop()
        for child in self.pool.children:
            child.stop(time.monotonic() + 5)


MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(tmp_path: Path) -> Iterator[MakePool]:
    made: list[Pool] = []

    def make(
        names: str,
        *,
        policy: Policy = Policy.SHARE,
        budget: int = 100,
        patience: Patience = FAST,
        dies: str = "",
    ) -> Pool:
        made.append(Pool(tmp_path, names, policy=policy, budget=budget, patience=patience, dies=dies))
        return made[-1]

    yield make
    for pool in made:
        pool.stop()
        pool.database.dispose()


def test_what_fits_starts_and_says_how_long_it_took(make_pool: MakePool) -> None:
    pool = make_pool("abc", budget=8)
    pool.until_states("ready ready stopped")

    assert 0 < (pool.standing("a").start_s or 0) < WITHIN_S
    assert pool.standing("c").why is Why.ON_DEMAND
    assert pool.running() == "ab"


def test_what_is_asked_takes_the_place_of_what_was_asked_longest_ago(make_pool: MakePool) -> None:
    pool = make_pool("abc", budget=8)
    pool.until_states("ready ready stopped")
    pool.ask("a")
    pool.ask("c", waiting=1)
    pool.until_states("ready stopped ready")

    assert (pool.standing("b").why, pool.standing("b").detail) == (Why.GAVE_WAY, "for c")
    assert pool.running() == "ac"
    assert not pool.members["b"].socket.exists()


def test_an_engine_that_nobody_asks_is_stopped_and_comes_when_it_is_asked(make_pool: MakePool) -> None:
    pool = make_pool("a", patience=Patience(idle_s=0.2))
    pool.until_states("ready")
    pool.until_states("stopped")
    assert pool.standing("a").why is Why.IDLE
    assert pool.running() == ""
    pool.ask("a", waiting=1)
    pool.until_states("ready")


def test_an_engine_answers_to_the_end_before_it_goes_but_not_for_ever(make_pool: MakePool) -> None:
    pool = make_pool("ab", budget=4)
    pool.until_states("ready stopped")
    pool.ask("a", active=1)
    pool.ask("b", waiting=1)
    pool.until_states("stopping stopped")
    began = time.monotonic()
    pool.until(lambda: pool.standing("a").state is EngineState.STOPPED)
    assert time.monotonic() - began >= 0.4
    pool.until_states("stopped ready")


def test_an_engine_that_dies_comes_back(make_pool: MakePool) -> None:
    pool = make_pool("ab")
    pool.until_states("ready ready")
    pool.kill("a")
    pool.until(lambda: pool.standing("a").deaths == 1)
    assert pool.states() == "starting ready"
    assert pool.standing("a").detail == f"ended with code {-signal.SIGKILL}"
    pool.until_states("ready ready")
    assert pool.standing("a").deaths == 0


def test_one_that_cannot_be_started_fails_and_the_others_go_on(make_pool: MakePool) -> None:
    pool = make_pool("ab", dies="a")
    pool.until_states("failed ready")
    assert "there is no such model" in (pool.standing("a").detail or "")


def test_the_only_one_that_cannot_be_started_ends_the_service(make_pool: MakePool) -> None:
    pool = make_pool("a", dies="a")
    with pytest.raises(ServeFailed, match="there is no such model"):
        pool.until_states("failed")


def test_engines_and_a_job_have_the_device_in_turns(make_pool: MakePool) -> None:
    pool = make_pool("ab", policy=Policy.YIELD)
    pool.until_states("ready ready")
    pool.add_job("j1")
    assert not pool.start_job("j1")
    pool.until_states("stopped stopped")
    assert pool.running() == ""
    assert pool.start_job("j1")
    pool.ask("a", waiting=1)
    pool.go_on()
    assert pool.states() == "stopped stopped"
    assert pool.standing("a").why is Why.TRAINING

    pool.add_job("j2")
    pool.end_job("j1")
    assert not pool.start_job("j2")  # requests wait
    pool.until_states("ready ready")
    pool.ask("a")
    pool.until(lambda: pool.start_job("j2"))
    assert pool.running() == ""


def test_a_service_that_was_killed_while_a_job_trained_starts_with_the_job(make_pool: MakePool) -> None:
    pool = make_pool("a", policy=Policy.YIELD)
    pool.add_job("j1")
    pool.until(lambda: pool.start_job("j1"))
    pool.stop()
    pool.start()
    pool.go_on()
    assert pool.states() == "stopped"
    assert not pool.standing("a").is_wanted
    pool.end_job("j1")
    pool.until_states("ready")


def test_what_was_killed_in_any_state_is_where_it_should_be_after_the_next_start(make_pool: MakePool) -> None:
    pool = make_pool("abc", budget=8)
    for state in ("starting starting stopped", "ready ready stopped"):
        pool.until_states(state)
        pool.stop()
        pool.start()
        assert pool.states() == "stopped stopped stopped"
    pool.until_states("ready ready stopped")


def test_a_database_that_is_locked_stops_nothing(make_pool: MakePool) -> None:
    pool = make_pool("ab", budget=4)
    pool.until_states("ready stopped")
    pool.ask("b", waiting=1)
    with writing(pool.database).connect() as connection:
        connection.exec_driver_sql("UPDATE engine SET deaths = deaths")
        pool.kill("a")
        pool.until(lambda: pool.members["a"].standing.deaths == 1)
        pool.until(lambda: pool.members["a"].standing.state is EngineState.READY)
        assert pool.running() == "a"
        with pytest.raises(OperationalError):
            pool.ask("a")
    pool.until_states("stopped ready")
