"""The engine process of one base model, or of one full model, as the parent sees it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.child import Child
from server.placement.facts import EngineState, Why
from server.placement.standing import Standing

_DEAF_S = 60.0  # an engine that was ready and does not answer for this long is started anew
_PROBE_READY_EVERY_S = 5.0


@dataclass(eq=False)
class Member:
    """Its times are monotonic seconds; those of its standing are unix seconds."""

    base_model: str  # or the full model that it serves
    child: Child
    socket: Path
    is_full: bool = False
    clear: Callable[[], None] = lambda: None  # deletes what its process needs on the disk, once it will never run again
    standing: Standing = field(default_factory=lambda: Standing(EngineState.STOPPED, 0.0, Why.NEW))
    was_ready: bool = False  # since the service started
    probed_at: float = 0.0
    answered_at: float = 0.0
    told_to_stop_at: float | None = None
    is_saved: bool = True

    def is_probe_due(self, starting_s: float) -> bool:
        is_starting = self.standing.state is EngineState.STARTING
        every_s = starting_s if is_starting else _PROBE_READY_EVERY_S
        return self.child.process is not None and time.monotonic() - self.probed_at >= every_s

    def stand(self, state: EngineState, now: float, **changes: object) -> None:
        self.standing = replace(self.standing, state=state, since=now, **changes)  # type: ignore[arg-type]
        self.is_saved = False


def is_deaf(*, now: float, started_at: float, answered_at: float, start_timeout_s: float) -> bool:
    """Whether an engine that does not answer `now` is to be started anew. Monotonic seconds.

    One that has answered since its start gets a minute; one that has not, the time it may take to start.
    """
    if answered_at > started_at:
        return now - answered_at > _DEAF_S
    return now - started_at > start_timeout_s
