"""What the trainer is told of an adapter made elsewhere (`examine.json`), and what it says of it (`examined.json`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from trainer.contract.report import CheckFailure
from trainer.contract.spec import SPEC_VERSION, BaseModelSource, Frozen, Quantization


class ExamineSpec(Frozen):
    """Load an adapter onto its base model, and take its golden samples: `golden_samples.json` beside this spec."""

    version: Literal[1] = SPEC_VERSION
    base_model: BaseModelSource
    quantization: Quantization | None = None  # of the base that the engine serves; None: as its files are
    adapter: Path  # a directory in PEFT's form
    context_length_tokens: int = Field(ge=1)
    threads: int = Field(ge=1)


class ExamineReport(Frozen):
    base_parameters: int
    adapter_parameters: int
    base_gap: float  # between the adapter and the base alone: `GoldenSamples` says of what


class ExamineOutcome(Frozen):
    """One of them is set."""

    report: ExamineReport | None = None
    unfit: str | None = None  # why the adapter is not this base model's
    failure: CheckFailure | None = None
