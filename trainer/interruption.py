"""SIGTERM, or a file named `stop`, becomes an exception at a point where stopping is safe."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class StopRequested(BaseException):
    """The run was asked to stop. Not an `Exception`, so that no library swallows it."""

    def __init__(self, step: int | None = None) -> None:
        super().__init__()
        self.step = step  # the last one that is done; None: training has not begun


class Interruption:
    """While nothing could be lost, a SIGTERM is raised at once; inside `deferred`, at the next `check`."""

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._is_deferred = False
        self._is_requested = False

    def listen(self) -> None:
        """Take over SIGTERM; the signal is ours from here to the end of the process."""
        signal.signal(signal.SIGTERM, self._receive)

    def check(self) -> None:
        """Raise `StopRequested` if the run was asked to stop."""
        if self._is_requested or self._stop_file.exists():
            raise StopRequested

    def ignore(self) -> None:
        """The run is ending by itself; a request to stop comes too late."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise only at a `check` while the block runs."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _receive(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_requested = True
        if not self._is_deferred:
            raise StopRequested
