"""Which engines run and which jobs start, for every policy (pure): the parent and the worker decide by the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from server.placement.engine_order import EngineOrders, Stop, order_engines
from server.placement.facts import (
    EngineFacts,
    EngineState,
    Holder,
    JobFacts,
    Patience,
    Policy,
    Resources,
    Turn,
    Why,
)
from server.placement.scheduler import Start, jobs_to_start
from server.placement.turns import is_an_engine_wanted, next_turn

_RUNNING = frozenset({EngineState.STARTING, EngineState.READY})


@dataclass(frozen=True)
class Facts:
    """What there is to decide over."""

    engines: Sequence[EngineFacts]
    jobs: Sequence[JobFacts]
    turn: Turn = field(default_factory=Turn)


@dataclass(frozen=True)
class Plan:
    """What is to change. What it does not name stays as it is."""

    start_engines: tuple[str, ...] = ()
    stop_engines: dict[str, Stop] = field(default_factory=dict)  # one that has not run yet is only told why
    put_off_engines: tuple[str, ...] = ()
    start_jobs: tuple[Start, ...] = ()
    turn: Turn = field(default_factory=Turn)


def plan(policy: Policy, resources: Resources, facts: Facts, patience: Patience, now: float) -> Plan:
    """Decide what happens next. `now` is unix seconds."""
    startable = jobs_to_start(facts.jobs, slots=resources.slots, trainer_bytes=resources.trainer_bytes, now=now)
    if policy is not Policy.YIELD:
        return _with_engines(Plan(start_jobs=startable, turn=facts.turn), resources, facts, patience, now)
    turn = next_turn(facts.turn, facts.engines, facts.jobs, has_startable=bool(startable), patience=patience, now=now)
    if turn.holder is Holder.ENGINES:
        return _with_engines(Plan(turn=turn), resources, facts, patience, now)
    leaving = [engine for engine in facts.engines if engine.state in _RUNNING or engine.why is Why.NEW]
    stops = {engine.base_model: Stop(Why.TRAINING) for engine in leaving}
    may_start = not any(engine.holds_memory for engine in facts.engines) and not _engines_come_first(turn, facts)
    return Plan(stop_engines=stops, start_jobs=startable if may_start else (), turn=turn)


def _engines_come_first(turn: Turn, facts: Facts) -> bool:
    """No stream of jobs, one beside the other, keeps the engines away: the next waits until requests are answered."""
    return turn.used and is_an_engine_wanted(facts.engines, facts.jobs)


def _with_engines(so_far: Plan, resources: Resources, facts: Facts, patience: Patience, now: float) -> Plan:
    orders = EngineOrders()
    for device, budget in resources.engine_bytes.items():
        here = [engine for engine in facts.engines if engine.device == device]
        of_device = order_engines(here, budget, patience, now)
        orders.start += of_device.start
        orders.stop |= of_device.stop
        orders.put_off += of_device.put_off
    return replace(
        so_far,
        start_engines=tuple(orders.start),
        stop_engines=orders.stop,
        put_off_engines=tuple(orders.put_off),
    )
