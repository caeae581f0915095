"""What the trainer is told of a merge (`merge.json`), and what it says of it (`merge_report.json`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from trainer.contract.report import CheckFailure
from trainer.contract.spec import SPEC_VERSION, BaseModelSource, Frozen


class MergeSpec(Frozen):
    """Add an adapter to its base model; the result is a directory `merged/` beside this spec."""

    version: Literal[1] = SPEC_VERSION
    base_model: BaseModelSource
    adapter: Path  # a directory in PEFT's form
    tolerance: float = Field(ge=0)  # by which a logit of the merged model may differ, in 32-bit floats
    threads: int = Field(ge=1)


class MergeReport(Frozen):
    """Of a merge that was done. Errors are the largest differences of a logit from the adapter's on the same tokens."""

    dtype: str  # the format of the weights: the base's own
    parameters: int
    n_probe_tokens: int
    adapter_effect: float  # by how much the adapter moves a logit of the base: what the errors are to be measured by
    logit_error: float  # before the weights were rounded to that format
    rounded_logit_error: float  # of the saved model, reloaded
    rounded_same_choice: float  # share of the tokens after which the saved model likes the same token best


class MergeOutcome(Frozen):
    """Either `failure` is set, or `report` is."""

    report: MergeReport | None = None
    failure: CheckFailure | None = None
