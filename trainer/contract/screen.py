"""What the trainer is told of a file of chat examples to look through (`screen.json`), and what it says of it."""

from typing import Literal

from trainer.contract.report import CheckFailure
from trainer.contract.spec import SPEC_VERSION, Frozen


class ScreenSpec(Frozen):
    """Look for personal data and secrets in `training.jsonl`; with `redacts`, write `screened.jsonl` without them."""

    version: Literal[1] = SPEC_VERSION
    redacts: bool


class ScreenReport(Frozen):
    n_examples: int
    n_found: int  # examples that hold any
    n_matches: dict[str, int]  # by kind, in words


class ScreenOutcome(Frozen):
    """Either `failure` is set, or `report` is (`screen_report.json`)."""

    report: ScreenReport | None = None
    failure: CheckFailure | None = None
