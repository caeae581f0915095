"""Golden samples: what an adapter says to fixed prompts, so that whoever serves it can tell whether it is applied.

`golden_samples.json` lies beside the adapter's weights. Pure; docs/decisions/0016-golden-samples.md has the reasons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.contract.spec import Frozen

GOLDEN_SAMPLES = "golden_samples.json"
TOLERANCE = 0.02  # nats a token: rounding to bfloat16 is 0.003 to 0.012, another base or adapter 0.3 and more
_ROUNDING = 1e-6
_TIMES_FURTHER = 10  # from the base than from the adapter


class GoldenSample(Frozen):
    """One prompt and its sampled continuation; the log-probabilities, in nats, are of the sampled tokens."""

    prompt_token_ids: tuple[int, ...]
    sampled_token_ids: tuple[int, ...]
    adapter_logprobs: tuple[float, ...]  # under the base with the adapter, or the model whose weights were all trained
    base_logprobs: tuple[float, ...]  # under the base alone

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not len(self.sampled_token_ids) == len(self.adapter_logprobs) == len(self.base_logprobs) > 0:
            raise ValueError("a sample has as many log-probabilities as sampled tokens, and some")
        if not self.prompt_token_ids or not all(map(isfinite, (*self.adapter_logprobs, *self.base_logprobs))):
            raise ValueError("a sample has a prompt and finite log-probabilities")
        return self


class GoldenSamples(Frozen):
    """`golden_samples.json`. Gaps are mean absolute differences of log-probabilities, in nats a token."""

    version: Literal[1] = 1
    dtype: str  # what base and adapter computed in: "float32", "bfloat16"
    tolerance: float = Field(gt=0)  # the largest gap between these and what a right engine says
    base_gap: float = Field(ge=0)  # between the adapter and the base alone
    is_distinct: bool  # base_gap is ten tolerances or more; if not, the adapter barely moves the base
    # between the adapter on the quantised base it was trained on and on the one that serves, or between a model in
    # training and as it was saved; None: they are the same
    training_gap: float | None = Field(default=None, ge=0)
    samples: Annotated[tuple[GoldenSample, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """What judges an engine cannot be softer than what was measured."""
        base_gap = _base_gap(self.samples)
        if abs(base_gap - self.base_gap) > _ROUNDING or self.tolerance > TOLERANCE:
            raise ValueError("base_gap is what the samples say, and tolerance no larger than it ever was")
        if self.is_distinct != (self.base_gap >= _TIMES_FURTHER * self.tolerance):
            raise ValueError("is_distinct says whether base_gap is ten tolerances or more")
        return self


class Verdict(StrEnum):
    REPRODUCED = "reproduced"  # within the tolerance, and ten times further from the base
    IS_BASE = "is_base"  # within the tolerance of the base, not of the adapter: the adapter is not applied
    DIFFERS = "differs"  # neither: another adapter, another base, another precision
    UNDECIDED = "undecided"  # within the tolerance of both: the adapter barely moves the base


@dataclass(frozen=True)
class Comparison:
    adapter_gap: float  # between what was measured and the adapter
    base_gap: float  # between what was measured and the base
    verdict: Verdict


def build_golden_samples(
    samples: Sequence[GoldenSample], *, dtype: str, training_gap: float | None = None
) -> GoldenSamples:
    base_gap = _base_gap(samples)
    return GoldenSamples(
        dtype=dtype,
        tolerance=TOLERANCE,
        base_gap=base_gap,
        is_distinct=base_gap >= _TIMES_FURTHER * TOLERANCE,
        training_gap=training_gap,
        samples=tuple(samples),
    )


def compare(golden: GoldenSamples, measured: Sequence[Sequence[float]]) -> Comparison:
    """Judge what an engine gave to the sampled tokens, one list a sample.

    Raises:
        ValueError: there are not as many of them as there are sampled tokens.
    """
    adapter_gap = gap(measured, (sample.adapter_logprobs for sample in golden.samples))
    base_gap = gap(measured, (sample.base_logprobs for sample in golden.samples))
    return Comparison(adapter_gap, base_gap, _judge(adapter_gap, base_gap, golden.tolerance))


def gap(one: Iterable[Sequence[float]], other: Iterable[Sequence[float]]) -> float:
    """The mean absolute difference over all tokens of all samples."""
    differences = [
        abs(a - b) for row, other_row in zip(one, other, strict=True) for a, b in zip(row, other_row, strict=True)
    ]
    return sum(differences) / len(differences)


def _base_gap(samples: Sequence[GoldenSample]) -> float:
    return gap((sample.adapter_logprobs for sample in samples), (sample.base_logprobs for sample in samples))


def _judge(adapter_gap: float, base_gap: float, tolerance: float) -> Verdict:
    if not adapter_gap <= tolerance:  # also where it is not a number
        return Verdict.IS_BASE if base_gap <= tolerance else Verdict.DIFFERS
    return Verdict.REPRODUCED if base_gap >= _TIMES_FURTHER * adapter_gap and base_gap > 0 else Verdict.UNDECIDED
