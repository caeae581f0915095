"""Under `yield`: whose turn it is to have the device (pure).

Neither side starves. A job that waits gets the device when the requests pause, and at the latest after a limit; the
engines get it back when no job is left, and, if requests wait, after each job.
"""

from collections.abc import Sequence

from server.placement.facts import EngineFacts, EngineState, Holder, JobFacts, Patience, Turn


def next_turn(
    turn: Turn,
    engines: Sequence[EngineFacts],
    jobs: Sequence[JobFacts],
    *,
    has_startable: bool,
    patience: Patience,
    now: float,
) -> Turn:
    """`has_startable`: whether a job would start if the engines were away."""
    if any(job.holds_memory for job in jobs):
        if turn.holder is Holder.JOBS:
            return Turn(Holder.JOBS, turn.since, used=True)
        return Turn(Holder.JOBS, now, used=True)
    if not has_startable:
        return turn if turn.holder is Holder.ENGINES else Turn(Holder.ENGINES, now)
    if turn.holder is Holder.JOBS:
        return Turn(Holder.ENGINES, now) if _engines_are_owed(turn, engines, jobs, patience, now) else turn
    return Turn(Holder.JOBS, now) if _engines_have_had_theirs(turn, engines, jobs, patience, now) else turn


def is_an_engine_wanted(engines: Sequence[EngineFacts], jobs: Sequence[JobFacts]) -> bool:
    """Whether a request waits, or a model that is to answer before its job has succeeded."""
    return any(engine.waiting for engine in engines) or any(job.is_being_published for job in jobs)


def _engines_are_owed(
    turn: Turn, engines: Sequence[EngineFacts], jobs: Sequence[JobFacts], patience: Patience, now: float
) -> bool:
    return is_an_engine_wanted(engines, jobs) and (turn.used or now - turn.since >= patience.unused_s)


def _engines_have_had_theirs(
    turn: Turn, engines: Sequence[EngineFacts], jobs: Sequence[JobFacts], patience: Patience, now: float
) -> bool:
    here = [engine for engine in engines if engine.holds_memory]
    if any(engine.state is EngineState.STARTING for engine in here):
        return False  # their turn has not begun
    begun = [engine.state_since for engine in here if engine.state is EngineState.READY]
    if not here:
        begun = [engine.waiting_since for engine in engines if engine.waiting]
    answering_since = max([turn.since, *begun])
    if is_an_engine_wanted(engines, jobs) or any(engine.active for engine in engines):
        return now - answering_since >= patience.turn_s
    asked_at = max((engine.asked_at for engine in engines), default=0.0)
    return not here or now - max(asked_at, answering_since) >= patience.pause_s
