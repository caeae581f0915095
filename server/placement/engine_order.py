"""Which engines of one device start, and which stop, while engines may run there (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from server.placement.facts import EngineFacts, EngineState, Patience, Why


@dataclass(frozen=True)
class Stop:
    why: Why
    in_favour_of: str | None = None  # the base model that an engine gives way to


@dataclass
class EngineOrders:
    """What is to change, by base model."""

    start: list[str] = field(default_factory=list)
    stop: dict[str, Stop] = field(default_factory=dict)
    put_off: list[str] = field(default_factory=list)  # due, but without room: from now on they start when asked


def order_engines(
    engines: Sequence[EngineFacts], budget_bytes: int | None, patience: Patience, now: float
) -> EngineOrders:
    """Start what is asked or due and fits; stop what nobody asks, and what is idle and in the way.

    `engines` are those of one device, in the order of the settings. One alone is let in, whatever it needs.
    """
    orders = EngineOrders()
    for engine in engines:
        if _has_idled(engine, patience, now):
            orders.stop[engine.base_model] = Stop(Why.IDLE)
    standing = [_stopping(engine) if engine.base_model in orders.stop else engine for engine in engines]
    for claim in _claims(engines, patience, now):
        if _fits(claim, standing, budget_bytes):
            orders.start.append(claim.base_model)
            standing = [_starting(engine) if engine is claim else engine for engine in standing]
        elif claim.waiting:
            for victim in _victims(claim, standing, budget_bytes, patience, now):
                orders.stop[victim.base_model] = Stop(Why.GAVE_WAY, claim.base_model)
            break  # nobody overtakes a request that waits for room
        elif claim.is_due and not _fits(claim, _staying(standing), budget_bytes):
            orders.put_off.append(claim.base_model)
    return orders


def _has_idled(engine: EngineFacts, patience: Patience, now: float) -> bool:
    is_idle = engine.state is EngineState.READY and not engine.is_busy
    return patience.idle_s > 0 and is_idle and now - max(engine.asked_at, engine.state_since) >= patience.idle_s


def _claims(engines: Sequence[EngineFacts], patience: Patience, now: float) -> list[EngineFacts]:
    """Those whose requests wait, the longest first; then those that are due, in their order."""
    away = [engine for engine in engines if _may_start(engine, patience, now)]
    asked = sorted((engine for engine in away if engine.waiting), key=lambda engine: engine.waiting_since)
    due = [engine for engine in away if not engine.waiting and (engine.is_due or _is_worth_another_try(engine))]
    return [*asked, *due]


def _is_worth_another_try(engine: EngineFacts) -> bool:
    """Of one that could not be started nobody waits; one that runs on demand has to have been asked since."""
    return engine.state is EngineState.FAILED and (not engine.on_demand or engine.asked_at > engine.state_since)


def _may_start(engine: EngineFacts, patience: Patience, now: float) -> bool:
    if engine.state is EngineState.FAILED:
        return now - engine.state_since >= patience.failed_s
    return engine.state is EngineState.STOPPED


def _fits(claim: EngineFacts, standing: Sequence[EngineFacts], budget_bytes: int | None) -> bool:
    holding = [engine.needed_bytes for engine in standing if engine.holds_memory]
    return budget_bytes is None or not holding or sum(holding) + claim.needed_bytes <= budget_bytes


def _staying(standing: Sequence[EngineFacts]) -> list[EngineFacts]:
    return [engine for engine in standing if engine.state is not EngineState.STOPPING]


def _victims(
    claim: EngineFacts, standing: Sequence[EngineFacts], budget_bytes: int | None, patience: Patience, now: float
) -> list[EngineFacts]:
    """The fewest that must go so that the claim fits once they are gone: idle ones first, the longest unasked first.

    None if those that may go would not make room: then nobody is stopped in vain.
    """
    staying = _staying(standing)
    candidates = [engine for engine in staying if _may_be_displaced(engine, claim, patience, now)]
    candidates.sort(key=lambda engine: (engine.is_busy, engine.asked_at))
    chosen: list[EngineFacts] = []
    while not _fits(claim, staying, budget_bytes):
        if not candidates:
            return []
        chosen.append(candidates.pop(0))
        staying.remove(chosen[-1])
    return chosen


def _may_be_displaced(engine: EngineFacts, claim: EngineFacts, patience: Patience, now: float) -> bool:
    if engine.state is not EngineState.READY or now - engine.state_since < patience.settle_s:
        return False
    return not engine.is_busy or now - max(claim.waiting_since, engine.state_since) >= patience.give_way_s


def _starting(engine: EngineFacts) -> EngineFacts:
    return replace(engine, state=EngineState.STARTING)


def _stopping(engine: EngineFacts) -> EngineFacts:
    return replace(engine, state=EngineState.STOPPING)
