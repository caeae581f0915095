"""What the policy for personal data and secrets says of what was found."""

from collections.abc import Iterator

import numpy as np

from trainer.contract.report import FileKind, Severity
from trainer.contract.spec import PiiPolicy
from trainer.gate.found import Found
from trainer.pii.examples import PiiTally
from trainer.pii.match import SECRETS, Kind

_SEVERITY: dict[PiiPolicy, Severity] = {"warn": Severity.WARNING, "block": Severity.ERROR, "redact": Severity.INFO}
_ADVICE: dict[PiiPolicy, str] = {
    "warn": 'A model can repeat what it was trained on: remove them, or create the job with "data": {"pii": "redact"}.',
    "block": 'The job\'s policy does not allow them: remove them, or create the job with "data": {"pii": "redact"}.',
    "redact": "They were replaced by markers before training.",
}


def find_personal_data(kind: FileKind, tally: PiiTally, policy: PiiPolicy) -> Iterator[Found]:
    for check, kinds in (("secrets", SECRETS), ("personal_data", frozenset(Kind) - SECRETS)):
        present = [found for found in Kind if found in kinds and tally.n_matches[found]]
        if not present:
            continue
        counts = ", ".join(f"{tally.n_matches[found]} {found}(s)" for found in present)
        lines = np.unique(np.concatenate([np.asarray(tally.lines[found], dtype=np.uint32) for found in present]))
        yield Found(
            check,
            _SEVERITY[policy],
            f"{len(lines)} example(s) of the {kind} file hold what looks like {_NAMES[check]} ({counts}). "
            f"{_ADVICE[policy]}",
            lines,
        )


_NAMES = {"secrets": "keys or tokens", "personal_data": "personal data"}
