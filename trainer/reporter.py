"""The only writer of `events.jsonl`."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from trainer.contract.events import CheckpointSaved, Event, Failed, Interrupted, Succeeded, TrainerEvent, dump_event

AnyEvent = TypeVar("AnyEvent", bound=Event)
_DURABLE = (CheckpointSaved, Succeeded, Failed, Interrupted)


class Reporter:
    """Appends events, numbered densely from 0, one whole line per write."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Raises FileExistsError: the run directory has been used; an attempt needs its own."""
        self._file = path.open("xb", buffering=0)
        self._clock = clock
        self._seq = 0

    def report(self, kind: type[AnyEvent], **facts: Any) -> AnyEvent:
        """Append one event. Those that others act upon survive a power cut."""
        event = kind(seq=self._seq, at=self._clock(), **facts)
        self._file.write(dump_event(_as_trainer_event(event)))
        self._seq += 1
        if isinstance(event, _DURABLE):
            os.fsync(self._file.fileno())
        return event

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def _as_trainer_event(event: Event) -> TrainerEvent:
    return event  # type: ignore[return-value]
