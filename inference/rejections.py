"""Adapters that were rejected, so that an engine process is not asked for them again as they are (pure).

Each try costs the others of the engine; a client that keeps asking for a broken model would have them pay.
"""

from dataclasses import dataclass

from inference.engine import AdapterRef
from inference.report import RejectionReport

FileStates = tuple[tuple[str, int, int, int], ...]  # name, inode, size and time of change of an adapter's files
_MOST_KEPT = 256


@dataclass(frozen=True)
class _Rejection:
    sha256: str
    files: FileStates
    report: RejectionReport


class Rejections:
    def __init__(self) -> None:
        self._by_name: dict[str, _Rejection] = {}

    def reason(self, adapter: AdapterRef, files: FileStates) -> str | None:
        """Why it was rejected as it is now; None if it was not."""
        found = self._by_name.get(adapter.name)
        if found is None or (found.sha256, found.files) != (adapter.sha256, files):
            return None
        return found.report.reason

    def add(self, adapter: AdapterRef, files: FileStates, *, reason: str, at: float) -> None:
        self._by_name.pop(adapter.name, None)
        self._by_name[adapter.name] = _Rejection(adapter.sha256, files, RejectionReport(adapter.name, at, reason))
        if len(self._by_name) > _MOST_KEPT:
            del self._by_name[next(iter(self._by_name))]

    def forget(self, name: str) -> None:
        """It is admitted now, or gone. Idempotent."""
        self._by_name.pop(name, None)

    def report(self) -> tuple[RejectionReport, ...]:
        """Latest last."""
        return tuple(rejection.report for rejection in self._by_name.values())
