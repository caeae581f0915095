"""What a check says: the lines it concerns, a severity and words; and how examples are chosen by share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.contract.report import MAX_LINES_NAMED, FileKind, Finding, Severity

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class Found:
    """A finding before it is told: `message` begins with the count, and goes on after "of the … file"."""

    check: str
    severity: Severity
    message: str
    lines: npt.NDArray[np.uint32] | Sequence[int] = ()

    def of(self, kind: FileKind) -> Finding:
        lines = sorted(int(line) for line in np.asarray(self.lines)[:MAX_LINES_NAMED])
        return Finding(
            check=self.check,
            severity=self.severity,
            file=kind,
            message=self.message,
            lines=tuple(lines),
            n_lines=len(self.lines),
        )


def most_severe_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """By severity, then the training file first, then by how many lines are concerned."""
    return tuple(sorted(findings, key=lambda f: (_RANK[f.severity], f.file != "training", -f.n_lines, f.check)))


def repeats(hashes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which entries are equal to an earlier one."""
    _, first = np.unique(hashes, return_index=True)
    is_repeat = np.ones(len(hashes), dtype=np.bool_)
    is_repeat[first] = False
    return is_repeat


def percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"
