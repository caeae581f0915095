"""Golden samples: what an adapter says to fixed prompts, so that whoever serves it can tell whether it is applied.

`golden_samples.json` lies beside the adapter's weights. Pure; docs/decisions/0016-golden-samples.md has the reasons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.contract.spec import Frozen, Quantization

GOLDEN_SAMPLES = "golden_samples.json"
TOLERANCE = 0.02  # nats a token: rounding to bfloat16 is 0.003 to 0.012, another base or adapter 0.3 and more
DRIFT_TO_WARN_OF = 0.1  # nats a token
_ROUNDING = 1e-6
_TIMES_FURTHER = 10  # from the base than from the adapter

Scores = Sequence[Sequence[float]]  # the log-probabilities of the sampled tokens, one list a sample


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


@dataclass(frozen=True)
class Drift:
    """How far what was trained on is from what serves, on the sampled tokens, in nats a token."""

    mean: float
    largest: float
    of_base: float  # the mean without the adapter

    @property
    def is_large(self) -> bool:
        return self.mean > DRIFT_TO_WARN_OF

    def describe(self, served: Quantization | None) -> str:
        """Numbers alone, for an event. `served` is the form of the base that serves."""
        found = (
            f"On the base that serves, the model's log-probabilities are {self.mean:.3f} nats a token from those on "
            f"the base it was trained on, which is quantised otherwise (at most {self.largest:.3f}); without the "
            f"adapter the two bases are {self.of_base:.3f} apart."
        )
        if not self.is_large:
            return found
        advice = f"try the model, or train it with quantization '{served or 'none'}'"
        return f"{found} More than {DRIFT_TO_WARN_OF} is much: {advice}."


class GoldenSamples(Frozen):
    """`golden_samples.json`. Gaps are mean absolute differences of log-probabilities, in nats a token."""

    version: Literal[1] = 1
    dtype: str  # what base and adapter computed in: "float32", "bfloat16"
    quantization: Quantization | None = None  # of the base that they were taken on; None: as its files are
    tolerance: float = Field(gt=0)  # the largest gap between these and what a right engine says
    base_gap: float = Field(ge=0)  # between the adapter and the base alone
    is_distinct: bool  # base_gap is ten tolerances or more; if not, the adapter barely moves the base
    # between the adapter on the base it was trained on and on the one that serves; None: they are the same
    training_gap: float | None = Field(default=None, ge=0)
    largest_training_gap: float | None = Field(default=None, ge=0)  # of one token; None also where it was not taken
    base_training_gap: float | None = Field(default=None, ge=0)  # without the adapter: what quantising alone does
    samples: Annotated[tuple[GoldenSample, ...], Field(min_length=1)]

    @property
    def drift(self) -> Drift | None:
        """None where it serves on what it was trained on, or an older version did not take all of it."""
        mean, largest, of_base = self.training_gap, self.largest_training_gap, self.base_training_gap
        return None if mean is None or largest is None or of_base is None else Drift(mean, largest, of_base)

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


def measure_drift(trained: tuple[Scores, Scores], serving: tuple[Scores, Scores]) -> Drift:
    """Each time of log-probabilities with the adapter and without it."""
    return Drift(
        mean=gap(trained[0], serving[0]),
        largest=max(_differences(trained[0], serving[0])),
        of_base=gap(trained[1], serving[1]),
    )


def build_golden_samples(
    samples: Sequence[GoldenSample], *, dtype: str, quantization: Quantization | None = None, drift: Drift | None = None
) -> GoldenSamples:
    base_gap = _base_gap(samples)
    return GoldenSamples(
        dtype=dtype,
        quantization=quantization,
        tolerance=TOLERANCE,
        base_gap=base_gap,
        is_distinct=base_gap >= _TIMES_FURTHER * TOLERANCE,
        training_gap=None if drift is None else drift.mean,
        largest_training_gap=None if drift is None else drift.largest,
        base_training_gap=None if drift is None else drift.of_base,
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
    differences = _differences(one, other)
    return sum(differences) / len(differences)


def _differences(one: Iterable[Sequence[float]], other: Iterable[Sequence[float]]) -> list[float]:
    return [abs(a - b) for row, other_row in zip(one, other, strict=True) for a, b in zip(row, other_row, strict=True)]


def _base_gap(samples: Sequence[GoldenSample]) -> float:
    return gap((sample.adapter_logprobs for sample in samples), (sample.base_logprobs for sample in samples))


def _judge(adapter_gap: float, base_gap: float, tolerance: float) -> Verdict:
    if not adapter_gap <= tolerance:  # also where it is not a number
        return Verdict.IS_BASE if base_gap <= tolerance else Verdict.DIFFERS
    return Verdict.REPRODUCED if base_gap >= _TIMES_FURTHER * adapter_gap and base_gap > 0 else Verdict.UNDECIDED
