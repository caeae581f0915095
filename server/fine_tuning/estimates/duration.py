"""How long a run takes: at the speed of earlier runs here, or, before any, at a guess that is named as one (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from server.fine_tuning.estimates.memory import Device
from trainer.contract.spec import MemoryPlan, Quantization

_STEP_TOKENS = 64  # what one more step costs, in tokens of computing
_FORWARD_SHARE = 1 / 3  # of a step's computing; validation does no more
_CHECKPOINTED = 4 / 3  # the forward pass is done twice
_UNPACKED: dict[Quantization | None, float] = {None: 1.0, "nf4": 1.2, "int8": 1.5}  # what makes weights wide again
_RUNS = 5  # the last ones that are looked at
_START_S: dict[Device, float] = {"cpu": 10.0, "cuda": 30.0}  # to load libraries, data and model
_FLOPS: dict[Device, float] = {"cpu": 6e10, "cuda": 5e13}  # a guess: one core, and a GPU of the middle class
_FLOPS_A_PARAMETER = 4  # and token: forward and backward through a frozen base


@dataclass(frozen=True)
class Speed:
    tokens_per_second: float  # with the fastest plan; a step counts for `_STEP_TOKENS` more
    source: Literal["measured", "guessed"]
    n_runs: int  # that it was measured in
    start_s: float  # before the first step


@dataclass(frozen=True)
class Amount:
    """What a run has to do."""

    n_steps: int
    n_tokens: int  # trained on in all epochs
    validation_tokens: int = 0  # in all passes forward alone: over the validation file, and for a reference


def speed_of(measured: Sequence[dict[str, Any]], *, device: Device, threads: int, parameters: int) -> Speed:
    """The speed of runs on this base, newest first, as `job_report.measured` has them."""
    usable = [
        run
        for run in measured
        if run["device"] == device and run["threads"] == threads and run["n_steps"] and run["step_seconds"] > 0
    ][:_RUNS]
    if not usable:
        flops = _FLOPS[device] * (threads if device == "cpu" else 1)
        return Speed(flops / (_FLOPS_A_PARAMETER * parameters), "guessed", 0, _START_S[device])
    return Speed(
        tokens_per_second=median(_tokens_per_second(run) for run in usable),
        source="measured",
        n_runs=len(usable),
        start_s=median(run["start_seconds"] for run in usable),
    )


def estimate_seconds(amount: Amount, speed: Speed, plan: MemoryPlan) -> float:
    """From the start of the process to the last step."""
    training = _cost(amount.n_tokens, amount.n_steps) * _slowness(plan)
    validating = amount.validation_tokens * _FORWARD_SHARE
    return speed.start_s + (training + validating) / speed.tokens_per_second


def _tokens_per_second(run: dict[str, Any]) -> float:
    slowness = _slowness(MemoryPlan.model_validate(run["plan"]))
    return float(_cost(run["n_tokens"], run["n_steps"]) * slowness / run["step_seconds"])


def _slowness(plan: MemoryPlan) -> float:
    """How much longer a step takes than with the fastest plan."""
    checkpointing = _CHECKPOINTED if plan.gradient_checkpointing else 1.0
    return checkpointing * _UNPACKED[plan.quantization]


def _cost(n_tokens: int, n_steps: int) -> int:
    return n_tokens + _STEP_TOKENS * n_steps
