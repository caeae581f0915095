"""All that is said of a job before it runs, from the trainer's report of its files (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.fine_tuning.adapter_options import may_be_quantised
from server.fine_tuning.asked.methods import Method
from server.fine_tuning.estimates.duration import Amount, estimate_seconds, speed_of
from server.fine_tuning.estimates.layers import active_parameters, adapter_bytes, lora_parameters, targets_of
from server.fine_tuning.estimates.memory import Device, Memory, number_bytes
from server.fine_tuning.estimates.planner import Fit, NoFit, Room, Work, choose_plan, default_plan
from server.fine_tuning.estimates.prices import Cost, HostedPrice, cost_of
from server.fine_tuning.estimates.schemas import (
    Estimate,
    EstimatedCost,
    EstimatedFile,
    EstimatedMemory,
    EstimatedTime,
    HostedCost,
    PlanOfRun,
)
from server.fine_tuning.hyperparameters import ResolvedHyperparameters, WantedQuantization
from server.fine_tuning.preferences import (
    has_fused_head,
    labelled_share,
    passes_before_training,
    sequences_per_example,
)
from trainer.contract.report import CheckReport, FileReport
from trainer.contract.shape import ModelShape
from trainer.contract.spec import MemoryPlan, MethodName

_UNKNOWN_SIZE = 1_000_000_000  # parameters assumed of a base that does not say


@dataclass(frozen=True)
class Planning:
    """What of the machine and of the operator's settings a job depends on."""

    room: Room | None  # None: not known
    device: Device
    threads: int
    max_rank: int = 64  # of an adapter that the engines serve
    bfloat16: bool = True  # whether a GPU has it
    measured: Sequence[dict[str, Any]] = ()  # of earlier runs on the same base, newest first
    price: float | None = None
    currency: str = "USD"
    hosted: tuple[HostedPrice, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """Which part of the training file was looked at."""

    rows_looked_at: int | None = None  # None: all
    rows: int = 0  # of the whole file
    growth: float = 1.0  # examples of the whole file to those looked at
    scale: float = 1.0  # bytes, likewise

    def of_pilot(self, n_examples: int) -> "Sampling":
        """Where only so many of its examples are trained on, all of which were looked at if there were enough."""
        if self.rows_looked_at is None:
            return self
        growth = min(self.rows, max(n_examples, self.rows_looked_at)) / max(1, self.rows_looked_at)
        return replace(self, growth=growth, scale=growth)

    def scaled(self, file: FileReport) -> FileReport:
        """The figures of the whole file."""
        if self.rows_looked_at is None:
            return file
        return file.model_copy(
            update={
                "n_examples": round(file.n_examples * self.growth),
                "n_tokens": round(file.n_tokens * self.scale),
                "n_trained_tokens": round(file.n_trained_tokens * self.scale),
                "n_desirable": round(file.n_desirable * self.growth),
            }
        )


@dataclass(frozen=True)
class Judgement:
    """How the job would run, or why it cannot."""

    plan: MemoryPlan
    memory: Memory | None  # None: the base's shape, or the room there is, is not known
    refusal: NoFit | None = None


def judge(
    report: CheckReport,
    resolved: ResolvedHyperparameters,
    quantization: WantedQuantization,
    planning: Planning,
    *,
    method: MethodName = "supervised",
) -> Judgement:
    """Choose the plan of a job whose files can be used."""
    training = _training(report)
    if quantization == "auto" and not may_be_quantised(resolved.lora_variant):
        quantization = None
    if report.base_shape is None or planning.room is None:
        return Judgement(default_plan(planning.device, None if quantization == "auto" else quantization), None)
    work = Work(
        shape=report.base_shape,
        longest_tokens=longest_after_cutting(report, resolved, method),
        is_fused=has_fused_head(method),
        batch_size=resolved.batch_size,
        labelled_share=labelled_share(method, training.n_trained_tokens / max(1, training.n_tokens)),
        rank=resolved.lora_rank,
        has_dropout=resolved.lora_dropout > 0,
        targets=targets_of(resolved.lora_target_modules),
        is_dora=resolved.lora_variant == "dora",
        parameters=report.base_parameters,
        optimizer=resolved.optimizer,
        trains="full" if resolved.trains_all else "lora",
        keeps_best=resolved.early_stopping_patience is not None,
        bfloat16=planning.bfloat16,
        quantization=quantization,
    )
    match choose_plan(work, planning.room):
        case Fit(plan=plan, memory=memory):
            return Judgement(plan, memory)
        case NoFit(leanest=leanest, memory=memory) as refusal:
            return Judgement(leanest, memory, refusal)


def build_estimate(
    report: CheckReport,
    resolved: ResolvedHyperparameters,
    judgement: Judgement,
    planning: Planning,
    sampling: Sampling = Sampling(),
    *,
    method: MethodName = "supervised",
) -> Estimate:
    """Put all of it into the words of the wire. A sample's figures have been scaled to its file."""
    training = _training(report)
    n_steps = resolved.total_steps(training.n_examples)
    n_tokens = resolved.n_epochs * training.n_tokens
    trainable, n_bytes = _result(report, resolved, planning)
    return Estimate(
        sampled=sampling.rows_looked_at is not None,
        training=_file(training, sampling.rows_looked_at),
        validation=None if report.validation is None else _file(report.validation),
        method=Method.of(method, resolved.shown(judgement.plan.quantization)),
        total_steps=n_steps,
        trained_tokens=n_tokens,
        base_parameters=report.base_parameters,
        trainable_parameters=trainable,
        adapter_bytes=n_bytes,
        fits=judgement.refusal is None,
        advice=None if judgement.refusal is None else judgement.refusal.message(),
        plan=_plan(judgement.plan, training, resolved.batch_size),
        memory=_memory(judgement.memory, planning),
        time=_time(report, resolved, judgement.plan, planning, _amount(method, resolved, training)),
        cost=_cost(cost_of(n_tokens, price=planning.price, currency=planning.currency, hosted=planning.hosted)),
    )


def _result(
    report: CheckReport, resolved: ResolvedHyperparameters, planning: Planning
) -> tuple[int | None, int | None]:
    """How many parameters are trained, and the bytes of the weights that come of it; None: not known."""
    if resolved.trains_all:
        trained = report.base_parameters
        return trained, None if trained is None else adapter_bytes(trained, bytes_per_parameter=2)
    if report.base_shape is None:
        return None, None
    trained = _trainable(report.base_shape, resolved)
    return trained, adapter_bytes(
        trained, bytes_per_parameter=number_bytes(planning.device, bfloat16=planning.bfloat16)
    )


def _trainable(shape: ModelShape, resolved: ResolvedHyperparameters) -> int:
    return lora_parameters(
        shape,
        rank=resolved.lora_rank,
        targets=targets_of(resolved.lora_target_modules),
        has_magnitudes=resolved.lora_variant == "dora",
    )


def longest_after_cutting(report: CheckReport, resolved: ResolvedHyperparameters, method: MethodName) -> int:
    """Of what has to be in one micro-batch: a sequence, or both of a pair, padded to the longer one."""
    longest_tokens = _training(report).longest_tokens
    if resolved.max_seq_length is not None:
        longest_tokens = min(longest_tokens, resolved.max_seq_length)
    return longest_tokens * sequences_per_example(method)


def _amount(method: MethodName, resolved: ResolvedHyperparameters, training: FileReport) -> Amount:
    """With the passes for the reference, which cost what validation costs."""
    n_tokens = resolved.n_epochs * training.n_tokens
    before = passes_before_training(method, resolved.n_epochs) * training.n_tokens
    return Amount(resolved.total_steps(training.n_examples), n_tokens, validation_tokens=before)


def _training(report: CheckReport) -> FileReport:
    if report.training is None:
        raise ValueError("a report without failure holds the training file's figures")
    return report.training


def _file(file: FileReport, rows_looked_at: int | None = None) -> EstimatedFile:
    return EstimatedFile(
        examples=file.n_examples,
        tokens=file.n_tokens,
        trained_tokens=file.n_trained_tokens,
        longest_tokens=file.longest_tokens,
        truncated_examples=len(file.truncated_lines),
        dropped_examples=len(file.dropped_lines),
        rows_looked_at=rows_looked_at,
    )


def _plan(plan: MemoryPlan, training: FileReport, batch_size: int) -> PlanOfRun:
    mean_tokens = training.n_tokens / max(1, training.n_examples)
    at_once = min(batch_size, max(1, math.floor(plan.micro_batch_tokens / max(1.0, mean_tokens))))
    return PlanOfRun(
        micro_batch_tokens=plan.micro_batch_tokens,
        micro_batches_per_step=math.ceil(batch_size / at_once),
        gradient_checkpointing=plan.gradient_checkpointing,
        quantization=plan.quantization,
    )


def _memory(memory: Memory | None, planning: Planning) -> EstimatedMemory | None:
    if memory is None or planning.room is None:
        return None
    return EstimatedMemory(
        device=planning.device,
        weights_bytes=memory.weights,
        adapter_bytes=memory.adapter,
        gradients_bytes=memory.gradients,
        optimizer_bytes=memory.optimizer,
        activations_bytes=memory.activations,
        head_bytes=memory.head,
        reserve_bytes=memory.reserve,
        peak_bytes=memory.peak,
        needed_bytes=memory.needed,
        available_bytes=planning.room.available_bytes,
    )


def _time(
    report: CheckReport, resolved: ResolvedHyperparameters, plan: MemoryPlan, planning: Planning, amount: Amount
) -> EstimatedTime:
    if report.validation is not None:
        part = min(resolved.batch_size, report.validation.n_examples) / report.validation.n_examples
        passes = resolved.n_epochs + amount.n_steps / resolved.validation_interval_steps * part
        validated = amount.validation_tokens + round(passes * report.validation.n_tokens)
        amount = replace(amount, validation_tokens=validated)
    speed = speed_of(
        planning.measured,
        device=planning.device,
        threads=planning.threads,
        parameters=_computed_with(report),
    )
    seconds = estimate_seconds(amount, speed, plan)
    return EstimatedTime(
        seconds=round(seconds, 1),
        tokens_per_second=round(speed.tokens_per_second, 1),
        speed=speed.source,
        runs=speed.n_runs,
    )


def _computed_with(report: CheckReport) -> int:
    """Parameters that a token goes through: of a mixture of experts not all."""
    if report.base_parameters is None:
        return _UNKNOWN_SIZE
    shape = report.base_shape
    return report.base_parameters if shape is None else active_parameters(shape, report.base_parameters)


def _cost(cost: Cost) -> EstimatedCost:
    hosted = [
        HostedCost(
            provider=price.provider,
            model=price.model,
            amount=amount,
            currency=price.currency,
            as_of=price.as_of.isoformat(),
        )
        for price, amount in cost.hosted
    ]
    return EstimatedCost(amount=cost.amount, currency=cost.currency, hosted=hosted)
