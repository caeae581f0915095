"""How an engine stands, and what that means for a request that wants it (pure)."""

import math
from dataclasses import dataclass

from server.placement.facts import HOLDING, EngineState, Why

_UNMEASURED_START_S = 60.0
_OVERDUE_S = 5.0
_FAILED_S = 60.0
_AFTER_TRAINING_S = 60.0  # nobody knows when a job ends; the official clients wait no longer than this


@dataclass(frozen=True)
class Standing:
    state: EngineState
    since: float  # unix seconds
    why: Why | None = None
    detail: str | None = None  # for the operator
    deaths: int = 0  # in a row, since it was last ready
    start_s: float | None = None  # what its last start took

    @property
    def holds_memory(self) -> bool:
        return self.state in HOLDING

    @property
    def is_wanted(self) -> bool:
        """Whether it is to answer now."""
        return self.state in (EngineState.STARTING, EngineState.READY) or self.why is Why.NEW


@dataclass(frozen=True)
class Refusal:
    reason: str
    retry_after_s: int


def refusal_of(standing: Standing, now: float) -> Refusal | None:
    """Why a request is not to wait: the engine died, or cannot be started. None: it is there, or will be, by plan."""
    if standing.state is EngineState.FAILED:
        return Refusal("the engine cannot be started", _whole(standing.since + _FAILED_S - now))
    if standing.state is EngineState.STARTING and standing.deaths:
        return Refusal("the engine ended and is being started again", retry_after_s(standing, now))
    return None


def over_limit(standing: Standing, now: float) -> Refusal:
    """Why a request that has waited as long as it may goes away unanswered."""
    if standing.why is Why.TRAINING:
        reason = "a training job has the device"
    elif standing.state is EngineState.STARTING:
        reason = "the engine is starting"
    else:
        reason = "the engine waits for room"
    return Refusal(reason, retry_after_s(standing, now))


def retry_after_s(standing: Standing, now: float) -> int:
    """When it may be ready, as far as can be told; whole seconds."""
    start_s = _UNMEASURED_START_S if standing.start_s is None else standing.start_s
    if standing.state is EngineState.STARTING:
        left = standing.since + start_s - now
        return _whole(left if left > 0 else _OVERDUE_S)
    if standing.state is EngineState.STOPPED and standing.why is Why.TRAINING:
        return _whole(_AFTER_TRAINING_S)
    return _whole(start_s)


def describe(standing: Standing) -> str:
    """For humans: what it does, or why it does not run."""
    reasons = {
        Why.NEW: "is about to start",
        Why.TRAINING: "a training job has the device",
        Why.IDLE: "nobody asked",
        Why.GAVE_WAY: "made way for another",
        Why.ON_DEMAND: "starts when it is asked",
        Why.DELETED: "the model was deleted",
    }
    if standing.why is None or standing.state in (EngineState.READY, EngineState.STARTING):
        return standing.state.value
    return f"{standing.state.value}: {reasons[standing.why]}"


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
