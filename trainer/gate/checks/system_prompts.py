"""Whether the examples speak under one system message, as they will be served."""

from collections.abc import Iterator

import numpy as np

from trainer.contract.report import Severity
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent

_MOST = 0.9  # of the examples: what the others should have, too
_MANY = 0.5
_ENOUGH_TO_TELL = 20  # examples


def find_odd_system_prompts(facts: Facts) -> Iterator[Found]:
    systems = facts.column("system")
    if len(systems) < _ENOUGH_TO_TELL:
        return
    distinct, counts = np.unique(systems, return_counts=True)
    usual, n = distinct[counts.argmax()], int(counts.max())
    if len(distinct) == 1 or n < _MANY * len(systems):
        return
    is_most = n >= _MOST * len(systems)
    shared = "the same system message" if usual else "no system message"
    yield Found(
        "system_prompt",
        Severity.WARNING if is_most else Severity.INFO,
        f"{percent(n, len(systems))} of the {facts.kind} file has {shared}, and {len(systems) - n} example(s) have "
        f"{'another or none' if usual else 'one'}. "
        + ("Give all of them the same, and serve with it." if is_most else "Serve with the one that fits."),
        facts.lines(systems != usual),
    )
