"""What is known of an adapter that was loaded: whether it showed that it is the one it should be."""

from dataclasses import dataclass
from enum import StrEnum


class Proof(StrEnum):
    REPRODUCED = "reproduced"  # the engine says of the adapter's samples what its training said
    UNDECIDED = "undecided"  # likewise, but the base says nearly the same
    NONE = "none"  # it has no samples; its files are right, and it changes what the base says


@dataclass(frozen=True)
class Examination:
    """Gaps are mean absolute differences of log-probabilities, in nats a token; None: there was nothing to compare."""

    proof: Proof
    adapter_gap: float | None = None  # between what the engine says and what it should
    base_gap: float | None = None  # between what the engine says and the base alone
