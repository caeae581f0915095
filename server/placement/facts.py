"""What placing decides over: the engines, the jobs, the memory there is, and whose turn it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Policy(StrEnum):
    """How engines and trainers share the machine."""

    SHARE = "share"  # beside each other, each within a part of the memory
    YIELD = "yield"  # in turns: while one side has the device, the other is away
    SEPARATE = "separate"  # on different GPUs


class EngineState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"  # takes no new request, and ends its answers
    FAILED = "failed"  # it cannot be started; tried again now and then


class Why(StrEnum):
    """Why an engine does not run, or is being stopped."""

    NEW = "new"  # the service has just started: it is due
    TRAINING = "training"  # a job has the device; it is due when the engines have it again
    IDLE = "idle"
    GAVE_WAY = "gave_way"  # to an engine that was asked
    ON_DEMAND = "on_demand"  # there was no room for it when it was due, or it never is: a full model's
    DELETED = "deleted"  # its model is no more


HOLDING = frozenset({EngineState.STARTING, EngineState.READY, EngineState.STOPPING})
_DUE = frozenset({Why.NEW, Why.TRAINING})


@dataclass(frozen=True)
class EngineFacts:
    """One base model's engine, or one full model's under its `ft:` name. Times are unix seconds."""

    base_model: str
    needed_bytes: int = 0  # 0: not known
    on_demand: bool = False  # it runs only when it is asked
    device: int = 0  # the GPU's index
    state: EngineState = EngineState.STOPPED
    state_since: float = 0.0
    why: Why | None = None
    asked_at: float = 0.0  # the last request; 0: none
    waiting: int = 0  # requests that wait for it to be ready
    waiting_since: float = 0.0  # the longest of them
    active: int = 0  # answers under way

    @property
    def holds_memory(self) -> bool:
        return self.state in HOLDING

    @property
    def is_due(self) -> bool:
        """Whether it is to run again without being asked."""
        return self.state is EngineState.STOPPED and self.why in _DUE

    @property
    def is_busy(self) -> bool:
        return self.active > 0 or self.waiting > 0


@dataclass(frozen=True)
class JobFacts:
    """A job that waits to train, trains, or is being published; or an import of an adapter."""

    id: str
    project_id: str
    seq: int  # order of creation, among jobs or among imports
    needed_bytes: int = 0  # 0: not known
    needs_slot: bool = True  # False: it is an adapter that is imported, which a trainer looks at for a moment
    created_at: float = 0.0  # unix seconds; the order among both
    not_before: float = 0.0  # unix seconds
    waits: bool = False  # for its turn
    has_slot: bool = False  # from its start to the end of its publication
    holds_memory: bool = False  # its trainer runs, or is about to
    device: int | None = None  # the GPU it trains on, where there are several

    @property
    def is_being_published(self) -> bool:
        """It has trained, and its model is to answer before it has succeeded."""
        return self.has_slot and not self.holds_memory


class Holder(StrEnum):
    ENGINES = "engines"
    JOBS = "jobs"


@dataclass(frozen=True)
class Turn:
    """Under `yield`: who has the device, or gets it as soon as the other side has let go."""

    holder: Holder = Holder.ENGINES
    since: float = 0.0  # unix seconds
    used: bool = False  # a job has trained in this turn


@dataclass(frozen=True)
class Resources:
    """What there is. Bytes by the index of a GPU; a machine without one is device 0. None: not known."""

    slots: int = 1  # jobs that train at once
    engine_bytes: Mapping[int, int | None] = field(default_factory=lambda: {0: None})
    trainer_bytes: Mapping[int, int | None] = field(default_factory=lambda: {0: None})


@dataclass(frozen=True)
class Patience:
    """How long one waits for another, in seconds."""

    idle_s: float = 0.0  # an engine that nobody asks is stopped; 0: never
    give_way_s: float = 20.0  # a request waits so long before an engine that is answering is stopped for its own
    settle_s: float = 2.0  # an engine that has just become ready is left alone
    pause_s: float = 5.0  # without a request, before a job takes the device
    turn_s: float = 60.0  # of answering without a pause, before a job takes the device all the same
    unused_s: float = 120.0  # a turn that no job makes use of ends, if requests wait
    failed_s: float = 60.0  # before an engine that could not be started is tried again
