"""The port that starts runs somewhere, watches and stops them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol


class LaunchRefused(Exception):
    """This run can never be started here; the message says why and is safe to show."""


class NoCapacity(Exception):
    """Nothing is free now; the same request may succeed later."""


@dataclass(frozen=True)
class LaunchRequest:
    """A staged run directory and what to do in it."""

    run_directory: Path
    task: Literal["train", "check", "examine", "screen"]
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of the worker's own


@dataclass(frozen=True)
class RunHandle:
    """What it takes to find a run again, after a restart of the worker too. Stored on the job."""

    kind: str
    data: dict[str, Any]  # JSON

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "data": self.data}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RunHandle":
        return cls(kind=value["kind"], data=value["data"])


@dataclass(frozen=True)
class Running:
    pass


@dataclass(frozen=True)
class Exited:
    code: int  # 128 + n after signal n
    service_stopped: bool = False  # it was killed because the service around it went away
    oom_killed: bool = False  # by the kernel, for want of memory, as far as that can be told


@dataclass(frozen=True)
class Lost:
    """It is gone, and nobody saw how it ended."""


RunState = Running | Exited | Lost


class Launcher(Protocol):
    """Starts, watches and stops training runs somewhere. Holds no state that a restart would lose."""

    def launch(self, request: LaunchRequest) -> RunHandle:
        """Start the trainer on a staged run directory. Returns at once.

        Idempotent for one directory: a run that was started there before, and whose handle was
        lost, is found and not started twice.

        Raises:
            NoCapacity: nothing is free now.
            LaunchRefused: it never could be started.
        """
        ...

    def poll(self, handle: RunHandle) -> RunState:
        """Say how a run is. Safe to call on a handle from before our own restart."""
        ...

    def stop(self, handle: RunHandle, grace_s: float) -> None:
        """Ask, then insist; returns when it is gone. Idempotent; a run that is already gone is not an error."""
        ...
