"""The life of a batch, as pure functions: which status may follow which, and what is to be done in each.

validating ──▶ in_progress ──▶ finalizing ──▶ completed | expired
    │  │            │
    │  ▼            ▼
    │ failed    cancelling ──▶ cancelled
    └───────────────▲

One whose input was lost fails later, too.
"""

from enum import Enum, auto

from server.vocabulary import BatchStatus

WINDOW_S = 24 * 3600  # OpenAI's only one

_NEXT = {
    BatchStatus.VALIDATING: {BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING},
    BatchStatus.IN_PROGRESS: {BatchStatus.FINALIZING, BatchStatus.FAILED, BatchStatus.CANCELLING},
    BatchStatus.FINALIZING: {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED},
    BatchStatus.CANCELLING: {BatchStatus.CANCELLED},
}
UNFINISHED = frozenset(_NEXT)


class Step(Enum):
    """What the worker does with a batch."""

    VALIDATE = auto()
    RUN = auto()
    PUBLISH = auto()  # whose requests all have an answer
    GIVE_UP = auto()  # the time is over, or it was cancelled: what has no answer gets an error for one
    NOTHING = auto()


def may_follow(current: BatchStatus, following: BatchStatus) -> bool:
    """Whether a batch may go from one status to the other. A terminal status is never left."""
    return following in _NEXT.get(current, set())


def next_step(status: BatchStatus, *, has_unanswered: bool, expires_at: int, now: float) -> Step:
    """`has_unanswered`: whether requests of it have no answer yet."""
    match status:
        case BatchStatus.VALIDATING:
            return Step.VALIDATE
        case BatchStatus.IN_PROGRESS | BatchStatus.FINALIZING if not has_unanswered:
            return Step.PUBLISH
        case BatchStatus.IN_PROGRESS | BatchStatus.FINALIZING:
            return Step.GIVE_UP if now >= expires_at else Step.RUN
        case BatchStatus.CANCELLING:
            return Step.GIVE_UP if has_unanswered else Step.PUBLISH
        case _:
            return Step.NOTHING


def ending(status: BatchStatus, *, n_expired: int) -> BatchStatus:
    """How a batch ends whose files are written. `n_expired`: requests for which the time was too short."""
    if status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if n_expired else BatchStatus.COMPLETED
