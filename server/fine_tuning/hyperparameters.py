"""From what a client asked to the numbers a run is given (pure)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from server.fine_tuning.adapter_options import asked_adapter, resolve_adapter
from trainer.contract.spec import AdapterVariant

Requested = Mapping[str, Any]
"""What a client sent of `TunedHyperparameters`; an absent one counts as "auto"."""

MAX_BATCH_SIZE = 256


@dataclass(frozen=True)
class DatasetStats:
    """What the numbers depend on in a training file."""

    n_examples: int
    n_tokens: int = 0  # of those examples


@dataclass(frozen=True)
class BaseModelInfo:
    """What the numbers depend on in a base model."""

    parameters: int
    context_length: int = 0  # tokens


@dataclass(frozen=True)
class ResolvedHyperparameters:
    """Every number a supervised run needs."""

    n_epochs: int
    batch_size: int  # examples per step
    learning_rate_multiplier: float
    learning_rate: float  # peak, after warm-up: the reference learning rate times the multiplier
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_variant: AdapterVariant = "lora"
    lora_rslora: bool = False
    lora_target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    warmup_ratio: float = 0.05  # of all steps
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    early_stopping_patience: int | None = None  # evaluations of the validation file; None: train to the end

    def wire(self) -> dict[str, int | float]:
        """OpenAI's three, as a job shows them."""
        return {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }

    def total_steps(self, n_examples: int) -> int:
        return self.n_epochs * math.ceil(n_examples / self.batch_size)


def resolve(requested: Requested, dataset: DatasetStats, base: BaseModelInfo) -> ResolvedHyperparameters:
    """Replace every "auto" by a number, that of early stopping by none; keep every explicit number exactly.

    Deterministic: the same file and base model always give the same numbers, which the job then reports.
    """
    n_epochs = _number(requested, "n_epochs")
    batch_size = _number(requested, "batch_size")
    multiplier = _number(requested, "learning_rate_multiplier")
    n_epochs = _auto_n_epochs(dataset.n_examples) if n_epochs is None else int(n_epochs)
    batch_size = _auto_batch_size(dataset.n_examples) if batch_size is None else int(batch_size)
    multiplier = 1.0 if multiplier is None else multiplier
    patience = _number(requested, "early_stopping_patience")
    return ResolvedHyperparameters(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=reference_learning_rate(base.parameters, min(batch_size, dataset.n_examples)) * multiplier,
        early_stopping_patience=None if patience is None else int(patience),
        **resolve_adapter(asked_adapter(requested)),
    )


def reference_learning_rate(parameters: int, batch_size: int) -> float:
    """The peak learning rate of LoRA for a base of this size at this batch size.

    At 16 examples a step: 2e-4 from 1 billion parameters on, as the guides and QLoRA (arXiv 2305.14314) have it;
    below, it rises as parameters^-0.58, to 5e-3 at 4 million, because small models need larger steps to move at all.
    It follows the batch as batch_size^0.4, a little less than the square root that theory gives for Adam
    (arXiv 2405.14578): many small noisy steps at the full rate diverge. Above 64 examples it stays.
    """
    by_size = 2e-4 * math.pow(max(1.0, 1e9 / max(parameters, 1_000_000)), 0.583)
    return by_size * math.pow(min(batch_size, 64) / 16, 0.4)


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


def _number(requested: Requested, name: str) -> float | int | None:
    """The number that was asked for; None for "auto"."""
    value = requested.get(name, "auto")
    return None if isinstance(value, str) else value
