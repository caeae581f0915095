"""Synthetic training runs: losses by formula, with noise of a seed, told as a trainer tells them."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from server.fine_tuning.diagnoses.course import Course, RunFacts
from server.fine_tuning.diagnoses.diagnose import diagnose
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from trainer.contract.events import Metrics, Progress
from trainer.learning_rate import factor

Curve = Callable[[float], float]  # of the share of the run that is done, in [0, 1]


@dataclass(frozen=True)
class Run:
    """A run as a table's row. Accuracy follows from the loss unless it is given."""

    loss: Curve
    steps: int = 300
    epochs: int = 3
    batch: int = 8
    noise: float = 0.1  # standard deviation of the loss of a step, as a share of it
    valid: Curve | None = None
    n_valid: int = 60
    accuracy: Curve | None = None
    valid_accuracy: Curve | None = None
    norm: Curve = field(default=lambda _: 0.8)
    learning_rate: float = 2e-4

    @property
    def facts(self) -> RunFacts:
        return RunFacts(
            total_steps=self.steps,
            n_epochs=self.epochs,
            n_examples=self.steps // self.epochs * self.batch,
            batch_size=self.batch,
            max_grad_norm=1.0,
            n_validation=self.n_valid if self.valid else 0,
        )

    def events(self, seed: int) -> Iterator[Progress]:
        random = Random(seed)
        for step in range(1, self.steps + 1):
            share = step / self.steps
            yield Progress(
                seq=step,
                at=float(step),
                step=step,
                total_steps=self.steps,
                metrics=self._metrics(step, random),
                trained_tokens=100 * step,
                learning_rate=self.learning_rate
                * factor(step - 1, scheduler="cosine", total_steps=self.steps, warmup_ratio=0.05),
                grad_norm=self.norm(share) * random.lognormvariate(0, 0.3),
                seconds_per_step=1.0,
            )

    def _metrics(self, step: int, random: Random) -> Metrics:
        share = step / self.steps
        loss = self.loss(share) * _noisy(random, self.noise)
        accuracy = _accuracy(loss) if self.accuracy is None else self.accuracy(share)
        measured = {}
        if self.valid is not None and (step % math.ceil(self.steps / 20) == 0 or step == self.steps):
            part = self.valid(share) * _noisy(random, self.noise)
            measured.update(valid_loss=part, valid_mean_token_accuracy=_accuracy(part))
        if self.valid is not None and step % (self.steps // self.epochs) == 0:
            whole = self.valid(share)
            right = _accuracy(whole) if self.valid_accuracy is None else self.valid_accuracy(share)
            measured.update(full_valid_loss=whole, full_valid_mean_token_accuracy=right)
        return Metrics(train_loss=loss, train_mean_token_accuracy=accuracy, **measured)


def falling(start: float, end: float, *, tau: float = 0.15) -> Curve:
    """From `start` towards `end`, most of it in the first `tau` of the run."""
    return lambda share: end + (start - end) * math.exp(-share / tau)


def line(*points: tuple[float, float]) -> Curve:
    """Straight from point to point."""

    def at(share: float) -> float:
        before = max((point for point in points if point[0] <= share), default=points[0])
        after = min((point for point in points if point[0] >= share), default=points[-1])
        if before == after:
            return before[1]
        return before[1] + (after[1] - before[1]) * (share - before[0]) / (after[0] - before[0])

    return at


def stairs(*levels: float, first: float, tau: float = 0.05) -> Curve:
    """One level for each epoch; within the first, from `first` down to it."""

    def at(share: float) -> float:
        epoch = min(len(levels) - 1, math.ceil(share * len(levels)) - 1)
        return levels[epoch] + ((first - levels[0]) * math.exp(-share / tau) if epoch == 0 else 0.0)

    return at


def findings(run: Run, seed: int) -> dict[Diagnosis, tuple[int, Finding]]:
    """What is said of a run from its first step to its end, and at which step."""
    return findings_of(run.events(seed), run.facts)


def findings_of(events: Iterable[Progress], facts: RunFacts) -> dict[Diagnosis, tuple[int, Finding]]:
    course = Course(facts)
    said: dict[Diagnosis, tuple[int, Finding]] = {}
    for event in events:
        if course.add(event):
            said.update({finding.name: (event.step, finding) for finding in diagnose(course, said.keys())})
    course.is_over = True
    said.update({finding.name: (course.step, finding) for finding in diagnose(course, said.keys())})
    return said


def _noisy(random: Random, share: float) -> float:
    return random.lognormvariate(-(share**2) / 2, share)


def _accuracy(loss: float) -> float:
    return math.exp(-0.7 * loss)
