"""What an engine says of itself to its operator. It names models, so it is for nobody else."""

from dataclasses import dataclass

from inference.examination import Proof


@dataclass(frozen=True)
class AdapterReport:
    """A resident adapter. Gaps as in `Examination`."""

    name: str
    sha256: str
    loaded_at: float  # unix seconds
    load_s: float  # from the wish to have it to its admission: reading its files, the engine's load, the check
    check_s: float  # of those, for the check
    first_answer_s: float | None  # from the first request for it to its first bytes, a load included; None: none yet
    proof: Proof
    adapter_gap: float | None
    base_gap: float | None
    pins: int  # requests under way


@dataclass(frozen=True)
class RejectionReport:
    name: str
    at: float  # unix seconds
    reason: str


@dataclass(frozen=True)
class EngineReport:
    ready: bool
    detail: str
    adapters: tuple[AdapterReport, ...] = ()  # least recently used first
    rejected: tuple[RejectionReport, ...] = ()  # by this process of the engine, latest last
    restoring: tuple[str, ...] = ()  # adapters that the last process held, and this one does not hold yet
