"""A run's metrics so far, in a size that does not grow with its steps.

A run of more than `MAX_SLICES` steps is divided into that many slices of equal length, a shorter one into its steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from server.fine_tuning.diagnoses.tally import Tally, relative_noise
from trainer.contract.events import Metrics, Progress
from trainer.contract.spec import MethodName

MAX_SLICES = 60
_CHECKS = 20  # in a run, besides those at evaluations and at the ends of epochs
_GREATEST_LOSS = 1e6  # what is above is no worse; keeps squares finite
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class RunFacts:
    """What was settled before the run."""

    total_steps: int
    n_epochs: int
    n_examples: int
    batch_size: int
    max_grad_norm: float  # gradients are clipped to it
    n_validation: int  # examples; 0: no validation file
    method: MethodName = "supervised"

    @property
    def has_reference(self) -> bool:
        """Whether rewards tell how far the model is from what it was."""
        return self.method in ("dpo", "kto")

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.total_steps // self.n_epochs)


@dataclass
class Slice:
    """Neighbouring steps."""

    loss: Tally = field(default_factory=Tally)
    valid_loss: Tally = field(default_factory=Tally)  # of the validations on a part of the file
    accuracies: float = 0.0  # the sum over its steps, as are the next three
    learning_rates: float = 0.0
    log_norms: float = 0.0  # decimal logarithms of the gradient's norm before clipping
    n_clipped: int = 0
    chosen_rewards: float = 0.0  # the sum over its steps; 0 for a step that has none

    def add(self, event: Progress, *, max_grad_norm: float) -> None:
        metrics = event.metrics
        self.loss.add(min(metrics.train_loss, _GREATEST_LOSS))
        self.accuracies += metrics.train_mean_token_accuracy
        self.learning_rates += event.learning_rate
        self.log_norms += math.log10(max(event.grad_norm, _SMALLEST_NORM))
        self.n_clipped += event.grad_norm > max_grad_norm
        self.chosen_rewards += metrics.rewards_chosen or 0.0
        if metrics.valid_loss is not None:
            self.valid_loss.add(min(metrics.valid_loss, _GREATEST_LOSS))


@dataclass
class Epoch:
    """One pass over the examples. What two of them differ by is what was learnt between: the examples are the same."""

    loss: Tally = field(default_factory=Tally)
    accuracy: Tally = field(default_factory=Tally)
    late_accuracy: Tally = field(default_factory=Tally)  # of its second half
    valid_loss: float | None = None  # on the whole validation file, at its end
    valid_accuracy: float | None = None


@dataclass
class Course:
    """The slices and epochs of a run, up to the last step that was added."""

    facts: RunFacts
    first_step: int = 0  # that was added; of a run that was watched from its beginning, 1
    step: int = 0  # the last that was added
    is_over: bool = False  # the run has succeeded, at its last step or before
    slices: list[Slice] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def progress(self) -> float:
        """The share of the run that is done."""
        return self.step / self.facts.total_steps

    @property
    def is_from_the_beginning(self) -> bool:
        return self.first_step == 1

    @property
    def complete_epochs(self) -> list[Epoch]:
        return self.epochs[: self.step // self.facts.steps_per_epoch]

    def add(self, event: Progress) -> bool:
        """Take up a step; whether it is time to look at the whole. A step that was added before changes nothing."""
        if event.step <= self.step:
            return False
        self.first_step = self.first_step or event.step
        self.step = event.step
        n_slices = min(MAX_SLICES, self.facts.total_steps)
        position = min(n_slices - 1, (event.step - 1) * n_slices // self.facts.total_steps)
        while len(self.slices) <= position:
            self.slices.append(Slice())
        self.slices[position].add(event, max_grad_norm=self.facts.max_grad_norm)
        self._add_to_epoch(event)
        return self._is_time(event)

    def between(self, start: float, end: float) -> Sequence[Slice]:
        """The slices of a part of the run, given as shares of it; those that are not there yet are left out."""
        n_slices = min(MAX_SLICES, self.facts.total_steps)
        return self.slices[round(start * n_slices) : round(end * n_slices)]

    def recent(self, share: float, *, at_least_steps: int = 5) -> Sequence[Slice]:
        """The newest slices: this share of the whole run, and more where that is only a few steps."""
        n_slices = max(1, round(share * min(MAX_SLICES, self.facts.total_steps)))
        return grow_to(self.slices[::-1], n_slices, at_least_steps)

    def beginning(self, share: float, *, at_least_steps: int = 3) -> Sequence[Slice]:
        """The first slices, likewise."""
        n_slices = max(1, round(share * min(MAX_SLICES, self.facts.total_steps)))
        return grow_to(self.slices, n_slices, at_least_steps)

    @property
    def noise(self) -> float:
        """The standard deviation of the training loss of one step, as a share of it."""
        return relative_noise([part.loss for part in self.slices])

    def dump(self) -> dict[str, Any]:
        """As JSON that `load` reads back, number for number."""
        return {
            "first_step": self.first_step,
            "step": self.step,
            "is_over": self.is_over,
            "slices": [_dump(part) for part in self.slices],
            "epochs": [_dump(part) for part in self.epochs],
        }

    @classmethod
    def load(cls, facts: RunFacts, dumped: dict[str, Any]) -> "Course":
        return cls(
            facts,
            first_step=dumped["first_step"],
            step=dumped["step"],
            is_over=dumped["is_over"],
            slices=[Slice(*_load(part)) for part in dumped["slices"]],
            epochs=[Epoch(*_load(part)) for part in dumped["epochs"]],
        )

    def _add_to_epoch(self, event: Progress) -> None:
        number, rest = divmod(event.step - 1, self.facts.steps_per_epoch)
        while len(self.epochs) <= number:
            self.epochs.append(Epoch())
        epoch, metrics = self.epochs[number], event.metrics
        epoch.loss.add(min(metrics.train_loss, _GREATEST_LOSS))
        epoch.accuracy.add(metrics.train_mean_token_accuracy)
        if rest >= self.facts.steps_per_epoch // 2:
            epoch.late_accuracy.add(metrics.train_mean_token_accuracy)
        if metrics.full_valid_loss is not None:
            epoch.valid_loss = min(metrics.full_valid_loss, _GREATEST_LOSS)
            epoch.valid_accuracy = metrics.full_valid_mean_token_accuracy

    def _is_time(self, event: Progress) -> bool:
        total = self.facts.total_steps
        is_measured = _is_validated(event.metrics) or event.step % self.facts.steps_per_epoch == 0
        return is_measured or event.step * _CHECKS // total > (event.step - 1) * _CHECKS // total


def grow_to(slices: Sequence[Slice], n_slices: int, n_steps: int) -> Sequence[Slice]:
    """The first `n_slices`, and as many more as it takes to hold `n_steps`, if there are so many."""
    while n_slices < len(slices) and sum(part.loss.n for part in slices[:n_slices]) < n_steps:
        n_slices += 1
    return slices[:n_slices]


def _is_validated(metrics: Metrics) -> bool:
    return metrics.valid_loss is not None or metrics.full_valid_loss is not None


def _dump(part: Slice | Epoch) -> list[Any]:
    """Its values by position; a tally as the list of its own."""
    values = (getattr(part, each.name) for each in fields(part))
    return [value.dump() if isinstance(value, Tally) else value for value in values]


def _load(values: list[Any]) -> list[Any]:
    return [Tally(*value) if isinstance(value, list) else value for value in values]
