"""From what a client asked to the numbers a run is given (pure). docs/hyperparameters.md tells the rules."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from server.fine_tuning.adapter_options import FULL, asked_adapter, resolve_adapter
from server.fine_tuning.preferences import learning_rate_share, least_batch, own_numbers
from trainer.contract.spec import BY_TOKENS, AdapterVariant, MethodName, Optimizer, Quantization, Scheduler

Requested = Mapping[str, Any]
"""As `TunedHyperparameters` are dumped; an absent one counts as "auto"."""

WantedQuantization = Quantization | Literal["auto"] | None
"""What the frozen base is to be held in; None: as it is; "auto": the planner chooses."""

MAX_BATCH_SIZE = 256
_OF_LORA, _OF_ALL_WEIGHTS = 2e-4, 2e-5  # learning rates from 1 billion parameters on, at 16 examples a step
_PARTIAL_VALIDATIONS = 20  # in a run
_SIGNIFICANT_DIGITS = 6  # of a multiplier that follows from a learning rate


@dataclass(frozen=True)
class DatasetStats:
    """What the numbers depend on in a training file."""

    n_examples: int
    n_tokens: int = 0  # of those examples
    longest_tokens: int = 0  # of one of them, before cutting; 0: not known
    n_desirable: int = 0  # of those examples, in KTO's format


@dataclass(frozen=True)
class BaseModelInfo:
    """What the numbers depend on in a base model."""

    parameters: int
    context_length: int = 0  # tokens
    max_rank: int = 64  # of an adapter that its engine serves


@dataclass(frozen=True)
class ResolvedHyperparameters:
    """Every number a run needs."""

    n_epochs: int
    batch_size: int  # examples per step
    learning_rate_multiplier: float
    learning_rate: float  # peak, after warm-up: the reference learning rate times the multiplier
    trains_all: bool = False  # all of the model's weights; what is said of a LoRA then means nothing
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_variant: AdapterVariant = "lora"
    lora_rslora: bool = False
    lora_target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    lr_scheduler: Scheduler = "cosine"
    warmup_ratio: float = 0.05  # of all steps
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_seq_length: int | None = None  # tokens, longer examples are cut; None: the base's context is not known
    packing: bool = False
    validation_interval_steps: int = 1
    early_stopping_patience: int | None = None  # evaluations of the validation file; None: train to the end
    own: Mapping[str, float] = field(default_factory=dict)  # what only the method has, such as beta

    def shown(self, quantization: Quantization | None) -> dict[str, Any]:
        """All that a job shows once it is planned: OpenAI's three and ours; what was planned is given."""
        numbers = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "learning_rate": self.learning_rate,
            "warmup_ratio": self.warmup_ratio,
            "lr_scheduler": self.lr_scheduler,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            "max_seq_length": self.max_seq_length,
            "packing": self.packing,
            "validation_interval": self.validation_interval_steps,
            "early_stopping_patience": self.early_stopping_patience,
            "optimizer": self.optimizer,
            "quantization": quantization or "none",
            "adapter": self._adapter(),
            **self.own,
        }
        return {name: value for name, value in numbers.items() if value is not None}

    def _adapter(self) -> dict[str, Any]:
        if self.trains_all:
            return {"type": FULL}
        return {
            "type": self.lora_variant,
            "rank": self.lora_rank,
            "alpha": self.lora_alpha,
            "dropout": self.lora_dropout,
            "target_modules": _as_sent(self.lora_target_modules),
            "use_rslora": self.lora_rslora,
        }

    def total_steps(self, n_examples: int) -> int:
        return self.n_epochs * math.ceil(n_examples / self.batch_size)


def resolve(
    requested: Requested,
    dataset: DatasetStats,
    base: BaseModelInfo,
    *,
    method: MethodName = "supervised",
    on_gpu: bool = False,
) -> ResolvedHyperparameters:
    """Replace every "auto" by a number, that of early stopping by none; keep every explicit number exactly.

    Deterministic: the same file, base model and kind of device always give the same numbers, which the job then
    reports. What quantisation comes to is the planner's choice.
    """
    auto_n_epochs = _auto_n_epochs_of_text if method == "continued_pretraining" else _auto_n_epochs
    n_epochs = _or_auto(requested, "n_epochs", auto_n_epochs(dataset.n_examples))
    auto_batch_size = max(_auto_batch_size(dataset.n_examples), least_batch(method))
    batch_size = _or_auto(requested, "batch_size", auto_batch_size)
    adapter = asked_adapter(requested)
    seen = min(batch_size, dataset.n_examples)
    reference = reference_learning_rate(base.parameters, seen, method, trains_all=adapter.type == FULL)
    multiplier = _or_auto(requested, "learning_rate_multiplier", 1.0)
    if "learning_rate" in _explicit(requested):
        multiplier = float(f"{requested['learning_rate'] / reference:.{_SIGNIFICANT_DIGITS}g}")
    scheduler = _or_auto(requested, "lr_scheduler", "cosine")
    n_steps = n_epochs * math.ceil(dataset.n_examples / batch_size)
    return ResolvedHyperparameters(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=_or_auto(requested, "learning_rate", reference * multiplier),
        lr_scheduler=scheduler,
        warmup_ratio=_or_auto(requested, "warmup_ratio", 0.0 if scheduler == "constant" else 0.05),
        optimizer=_or_auto(requested, "optimizer", "adamw"),
        weight_decay=_or_auto(requested, "weight_decay", 0.01),
        max_grad_norm=_or_auto(requested, "max_grad_norm", 1.0),
        max_seq_length=_sequence_length(requested, dataset, base.context_length),
        packing=_or_auto(requested, "packing", on_gpu) and method in BY_TOKENS,
        validation_interval_steps=_or_auto(requested, "validation_interval", math.ceil(n_steps / _PARTIAL_VALIDATIONS)),
        early_stopping_patience=_or_auto(requested, "early_stopping_patience", None),
        own=own_numbers(method, requested, n_examples=dataset.n_examples, n_desirable=dataset.n_desirable),
        **resolve_adapter(adapter, base.max_rank),
    )


def sequence_limit(requested: Requested, context_length: int) -> int:
    """At how many tokens examples are cut: what was asked for, and never more than the base's context."""
    asked: int = _or_auto(requested, "max_seq_length", context_length)
    return min(context_length, asked)


def wanted_quantization(
    requested: Requested, served_in: Quantization | None = None, stored_in: str | None = None
) -> WantedQuantization:
    """`served_in`: what the base's engine makes of it. "auto" trains an adapter on what serves it.

    `stored_in`: how its own files are quantised, which is left as it is.
    """
    if stored_in is not None:
        return None
    asked: WantedQuantization | Literal["none"] = requested.get("quantization", "auto")
    if asked == "auto" and served_in is not None and asked_adapter(requested).type != FULL:
        return served_in
    return None if asked == "none" else asked


def reference_learning_rate(
    parameters: int, batch_size: int, method: MethodName = "supervised", *, trains_all: bool = False
) -> float:
    """The peak learning rate of LoRA for a base of this size at this batch size; a tenth of it for all weights.

    Of preferences a share of it.

    At 16 examples a step: 2e-4 from 1 billion parameters on, as the guides and QLoRA (arXiv 2305.14314) have it;
    below, it rises as parameters^-0.58, to 5e-3 at 4 million, because small models need larger steps to move at all.
    It follows the batch as batch_size^0.4, a little less than the square root that theory gives for Adam
    (arXiv 2405.14578): many small noisy steps at the full rate diverge. Above 64 examples it stays.
    """
    of_large = _OF_ALL_WEIGHTS if trains_all else _OF_LORA
    by_size = of_large * math.pow(max(1.0, 1e9 / max(parameters, 1_000_000)), 0.583)
    return by_size * math.pow(min(batch_size, 64) / 16, 0.4) * learning_rate_share(method)


def _auto_n_epochs(n_examples: int) -> int:
    """OpenAI's figures up to 100 examples (10 → 10, 100 → 3, on a line in logarithms between).

    Above, the guides' 3 to 5 for less than 1,000 and 1 or 2 for more than 10,000.
    """
    if n_examples <= 100:
        return round(10 * math.pow(max(n_examples, 10) / 10, math.log10(0.3)))
    for below, n_epochs in ((300, 5), (1_000, 4), (10_000, 3), (50_000, 2)):
        if n_examples < below:
            return n_epochs
    return 1


def _auto_n_epochs_of_text(n_pieces: int) -> int:
    """The more of it, the fewer passes; up to four, text that is read again is worth about as much as new text.

    arXiv 2305.16264.
    """
    return next((n_epochs for below, n_epochs in ((1_000, 3), (10_000, 2)) if n_pieces < below), 1)


def _auto_batch_size(n_examples: int) -> int:
    """A power of two: 1/100 of the examples up to 16, so that small files get enough steps.

    1 at 100 examples is OpenAI's figure, 16 is what the guides use; from 10,000 examples on it grows
    with the square root of their number.
    """
    if n_examples < 10_000:
        return min(16, _power_of_two_near(max(n_examples, 1) / 100))
    return min(MAX_BATCH_SIZE, 16 * _power_of_two_near(math.sqrt(n_examples / 10_000)))


def _power_of_two_near(number: float) -> int:
    return 1 << max(0, round(math.log2(number)))


def _sequence_length(requested: Requested, dataset: DatasetStats, context_length: int) -> int | None:
    """What was asked for, or else the longest example's length; both within the base's context."""
    if not context_length:
        return None
    limit = sequence_limit(requested, context_length)
    is_asked = "max_seq_length" in _explicit(requested)
    return limit if is_asked or not dataset.longest_tokens else min(limit, dataset.longest_tokens)


def _as_sent(targets: tuple[str, ...] | str) -> list[str] | str:
    return targets if isinstance(targets, str) else list(targets)


def _explicit(requested: Requested) -> set[str]:
    return {name for name, value in requested.items() if value != "auto"}


def _or_auto(requested: Requested, name: str, auto: Any) -> Any:
    """What was asked for, or else what "auto" comes to."""
    value = requested.get(name, "auto")
    return auto if value == "auto" else value
