"""What placing comes to over time, whatever is asked: played, with random engines, requests and jobs."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.placement.facts import EngineFacts, EngineState, Holder, JobFacts, Patience, Policy, Resources, Turn, Why
from server.placement.plan import Facts, Plan, plan

BUDGET = 10
START_S, DRAIN_S = 8, 5
PATIENCE = Patience(idle_s=100.0, give_way_s=20.0)


@dataclass
class World:
    """Parent, worker and API processes in one, by the second. Nothing in it decides: it does what is planned."""

    policy: Policy
    engines: dict[str, EngineFacts]
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    turn: Turn = field(default_factory=Turn)
    slots: int = 1
    now: float = 1000.0
    ends_at: dict[str, float] = field(default_factory=dict)  # of trainings
    served: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def second(self) -> Plan:
        self.now += 1
        resources = Resources(self.slots, {0: BUDGET}, {0: BUDGET})
        facts = Facts(list(self.engines.values()), list(self.jobs.values()), self.turn)
        decided = plan(self.policy, resources, facts, PATIENCE, self.now)
        self.turn = decided.turn
        for name in decided.start_engines:
            self._stand(name, EngineState.STARTING, None)
        for name in decided.put_off_engines:
            self._stand(name, EngineState.STOPPED, Why.ON_DEMAND)
        for name, stop in decided.stop_engines.items():
            is_there = self.engines[name].holds_memory
            self._stand(name, EngineState.STOPPING if is_there else EngineState.STOPPED, stop.why)
        for start in decided.start_jobs:
            self.jobs[start.job_id] = replace(self.jobs[start.job_id], waits=False, has_slot=True, holds_memory=True)
        self._go_on()
        return decided

    def ask(self, name: str) -> None:
        engine = self.engines[name]
        since = engine.waiting_since if engine.waiting else self.now
        self.engines[name] = replace(engine, waiting=engine.waiting + 1, waiting_since=since, asked_at=self.now)

    def add_job(self, name: str, needed_bytes: int, *, lasts_s: float) -> None:
        self.jobs[name] = JobFacts(name, name[0], len(self.jobs), needed_bytes, waits=True)
        self.ends_at[name] = lasts_s

    def _stand(self, name: str, state: EngineState, why: Why | None) -> None:
        self.engines[name] = replace(self.engines[name], state=state, state_since=self.now, why=why)

    def _go_on(self) -> None:
        for name, engine in self.engines.items():
            lasted_s = self.now - engine.state_since
            if engine.state is EngineState.STARTING and lasted_s >= START_S:
                self._stand(name, EngineState.READY, None)
            elif engine.state is EngineState.STOPPING and lasted_s >= DRAIN_S:
                self._stand(name, EngineState.STOPPED, engine.why)
            elif engine.state is EngineState.READY and engine.waiting:
                self.served += [name] * engine.waiting
                self.engines[name] = replace(engine, waiting=0, active=engine.waiting, asked_at=self.now)
            elif engine.state is EngineState.READY and engine.active:
                self.engines[name] = replace(engine, active=0, asked_at=self.now)
        for job in [job for job in self.jobs.values() if job.holds_memory]:
            self.ends_at[job.id] -= 1
            if self.ends_at[job.id] <= 0:
                self.trained.append(job.id)
                del self.jobs[job.id]

    def check(self) -> None:
        holding = [engine for engine in self.engines.values() if engine.holds_memory]
        training = [job for job in self.jobs.values() if job.holds_memory]
        assert len(holding) <= 1 or sum(engine.needed_bytes for engine in holding) <= BUDGET
        assert len(training) <= 1 or sum(job.needed_bytes for job in training) <= BUDGET
        assert len(training) <= self.slots
        assert not (self.policy is Policy.YIELD and holding and training)


def make_world(policy: Policy, *needs: int, slots: int = 1) -> World:
    engines = {f"e{i}": EngineFacts(f"e{i}", need, why=Why.NEW) for i, need in enumerate(needs)}
    return World(policy, engines, slots=slots)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(Policy),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 9999),
)
def test_memory_is_never_promised_twice_and_everybody_is_served(
    policy: Policy, needs: list[int], slots: int, seed: int
) -> None:
    chance, world = random.Random(seed), make_world(policy, *needs, slots=slots)
    asked = 0
    for second in range(400):
        if chance.random() < 0.2:
            world.ask(chance.choice(list(world.engines)))
            asked += 1
        if chance.random() < 0.02:
            world.add_job(f"{chance.choice('pq')}{second}", chance.randint(0, 10), lasts_s=chance.randint(5, 40))
        world.second()
        world.check()
    for _ in range(1500):
        world.second()
        world.check()
    assert len(world.served) == asked
    assert not world.jobs


@pytest.mark.parametrize("slots", [1, 3])
def test_a_stream_of_jobs_does_not_keep_the_engines_away(slots: int) -> None:
    world = make_world(Policy.YIELD, 4, slots=slots)
    for number in range(60):
        world.add_job(f"p{number}", 1, lasts_s=30)
    waits: list[int] = []
    for _ in range(600):
        if not world.engines["e0"].waiting:
            waits.append(0)
            world.ask("e0")
        waits[-1] += 1
        world.second()
        world.check()
    assert len(world.trained) >= 3
    assert max(waits) <= 30 * slots + START_S + DRAIN_S + 10


def test_a_stream_of_requests_does_not_keep_the_jobs_away() -> None:
    world = make_world(Policy.YIELD, 4)
    for number in range(5):
        world.add_job(f"p{number}", 1, lasts_s=20)
    for _ in range(5 * (20 + 60 + START_S + DRAIN_S + 10)):
        world.ask("e0")
        world.second()
        world.check()
    assert len(world.trained) == 5
    assert len(world.served) > 100


def test_two_engines_that_are_both_asked_without_a_pause_take_turns() -> None:
    world = make_world(Policy.SHARE, 8, 8)
    for _ in range(300):
        world.ask("e0")
        world.ask("e1")
        world.second()
        world.check()
    assert min(world.served.count("e0"), world.served.count("e1")) >= 30


def test_after_the_jobs_the_engines_that_were_there_are_there_again() -> None:
    world = make_world(Policy.YIELD, 4, 4, 4)
    for _ in range(30):
        world.second()
    before = {name for name, engine in world.engines.items() if engine.state is EngineState.READY}
    world.add_job("p1", 10, lasts_s=30)
    for _ in range(80):
        world.second()
        world.check()
    assert world.trained == ["p1"]
    assert world.turn.holder is Holder.ENGINES
    assert (
        {name for name, engine in world.engines.items() if engine.state is EngineState.READY} == before == {"e0", "e1"}
    )
