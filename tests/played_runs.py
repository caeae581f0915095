"""Runs played inside the test: what a trainer would write in a run directory, without a process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.launchers.launcher import Exited, LaunchRequest, Lost
from tests.adapter_files import write_adapter
from tests.full_models import write_full_model
from trainer.contract.checkpoint import ADAPTER, publish_directory, seal, step_of
from trainer.contract.events import (
    BestCheckpoint,
    CheckpointSaved,
    Failed,
    Interrupted,
    Measured,
    Metrics,
    Progress,
    Started,
    Succeeded,
)
from trainer.contract.examples import format_of
from trainer.contract.report import CheckFailure, CheckReport, FileReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.selection import read_selection_summary
from trainer.contract.spec import TrainingSpec
from trainer.early_stopping import compare, is_patience_over
from trainer.order import StepOrder
from trainer.reporter import Reporter


@dataclass
class PlayedTrainer:
    """A script for `InMemoryLauncher`: plays a run to its end, or to what `faults` says of its attempt."""

    faults: dict[int, Callable[["PlayedRun"], Exited | Lost]] = field(default_factory=dict)  # by attempt, from 1
    check: Callable[[RunDirectory], CheckReport] = field(default_factory=lambda: report_of)
    full_valid_losses: Sequence[float] = ()  # of the epochs
    specs: list[TrainingSpec] = field(default_factory=list)  # of the attempts that were played
    loss: Callable[[int], float] = field(default=lambda step: 2.0 / step)  # of a step

    def __call__(self, request: LaunchRequest) -> Exited | Lost:
        directory = RunDirectory(request.run_directory)
        if request.task == "check":
            directory.write_report(self.check(directory))
            return Exited(0)
        spec = directory.read_spec()
        self.specs.append(spec)
        with Reporter(directory.events) as reporter:
            run = PlayedRun(directory, spec, reporter, self.loss, self.full_valid_losses)
            return self.faults.get(spec.attempt, PlayedRun.succeed)(run)


UNVALIDATED = "unvalidated"  # in a checkpoint: its step is still to be validated


class PlayedRun:
    """One attempt, step by step."""

    def __init__(
        self,
        directory: RunDirectory,
        spec: TrainingSpec,
        reporter: Reporter,
        loss: Callable[[int], float],
        full_valid_losses: Sequence[float] = (),
    ) -> None:
        self.directory = directory
        self._spec = spec
        self._reporter = reporter
        self._loss = loss
        n_examples = len(directory.training_file.read_bytes().splitlines())
        if spec.selection is not None:
            summary = read_selection_summary(directory.selection)
            assert summary is not None
            n_examples = summary.n_training
        self._order = StepOrder(n_examples, spec.method.batch_size, spec.method.n_epochs, spec.seed)
        self.step = 0 if spec.resume_from is None else step_of(spec.resume_from) or 0
        self._full_valid_losses = full_valid_losses
        self._best = self._best_after(self.step)
        reporter.report(Started, total_steps=self._order.total_steps, n_examples=n_examples, first_step=self.step + 1)
        if spec.resume_from is not None and (spec.resume_from / UNVALIDATED).exists():
            self._finish_step()

    def succeed(self) -> Exited:
        self.train_to(self._order.total_steps)
        is_full = self._spec.lora is None
        result = self.directory.model if is_full else self.directory.adapter
        (write_full_model if is_full else write_adapter)(result)
        tokens = 20 * self.step
        measured = Measured(
            device="cpu",
            peak_tensor_bytes=1_000_000,
            peak_rss_bytes=2_000_000,
            largest_micro_batch_tokens=100,
            n_steps=self.step,
            n_tokens=tokens,
            step_seconds=tokens / 1000,
            step_cpu_seconds=tokens / 1000,
            start_seconds=2.0,
            total_seconds=2.0 + tokens / 1000,
        )
        self._reporter.report(
            Succeeded,
            step=self.step,
            trained_tokens=tokens,
            adapter=result.name,
            measured=measured,
            best=None if self._patience is None else self._best,
            stopped_early=self.step < self._order.total_steps,
        )
        return Exited(0)

    def crash_at(self, step: int) -> Exited:
        """The step is begun and nothing of it is ever reported."""
        self.train_to(step - 1)
        return Exited(9)

    def crash_unreported(self, step: int) -> Exited:
        """The step's checkpoint is complete, and nobody was told."""
        self.train_to(step)
        lines = self.directory.events.read_bytes().splitlines(keepends=True)
        self.directory.events.write_bytes(b"".join(lines[:-1]))
        return Exited(9)

    def interrupt_at(self, step: int) -> Exited:
        self.train_to(step)
        self._reporter.report(Interrupted, step=step)
        return Exited(143)

    def interrupt_while_validating(self, step: int) -> Exited:
        """The step is done; it is validated by the run that goes on."""
        self.train_to(step - 1)
        self.step = step
        self._save(self._metrics(), epoch=None, is_validated=False)
        self._reporter.report(Interrupted, step=step)
        return Exited(143)

    def fail(self, **facts: Any) -> Exited:
        self._reporter.report(Failed, **facts)
        return Exited(1)

    def train_to(self, last_step: int) -> None:
        while self.step < last_step and not is_patience_over(self._best, self._patience):
            self.step += 1
            self._best = self._best_after(self.step)
            self._finish_step()

    @property
    def _patience(self) -> int | None:
        return self._spec.method.early_stopping_patience

    def _full_valid_loss(self, step: int) -> float | None:
        epoch = self._order.epoch_ended_by(step)
        return self._full_valid_losses[epoch - 1] if epoch and epoch <= len(self._full_valid_losses) else None

    def _best_after(self, step: int) -> BestCheckpoint | None:
        best = None
        for done in range(1, step + 1):
            if (loss := self._full_valid_loss(done)) is not None:
                best = compare(best, step=done, full_valid_loss=loss)
        return best

    def _metrics(self, full_valid_loss: float | None = None) -> Metrics:
        loss = self._loss(self.step)
        return Metrics(train_loss=loss, train_mean_token_accuracy=0.5, full_valid_loss=full_valid_loss)

    def _finish_step(self) -> None:
        metrics = self._metrics(self._full_valid_loss(self.step))
        self._reporter.report(
            Progress,
            step=self.step,
            total_steps=self._order.total_steps,
            metrics=metrics,
            trained_tokens=20 * self.step,
            learning_rate=self._spec.method.learning_rate,
            grad_norm=1.0,
            seconds_per_step=2.0,
        )
        epoch, every = self._order.epoch_ended_by(self.step), self._spec.checkpoint_every_steps
        if epoch or (every and self.step % every == 0):
            self._save(metrics, epoch=epoch)

    def _save(self, metrics: Metrics, *, epoch: int | None, is_validated: bool = True) -> None:
        staged, final = self.directory.checkpoints / ".staged", self.directory.checkpoint(self.step)
        write_adapter(staged / ADAPTER, second_factor=bytes([self.step % 256]))
        if not is_validated:
            (staged / UNVALIDATED).touch()
        seal(staged)
        publish_directory(staged, final)
        directory = str(final.relative_to(self.directory.root))
        is_best = self._best is not None and self._best.step == self.step
        self._reporter.report(
            CheckpointSaved, step=self.step, epoch=epoch, directory=directory, metrics=metrics, is_best=is_best
        )


def report_of(directory: RunDirectory) -> CheckReport:
    """What the trainer says of files it can use."""
    validation = _figures_of(directory.validation_file) if directory.validation_file.exists() else None
    return CheckReport(training=_figures_of(directory.training_file), validation=validation, base_parameters=1_000_000)


def _figures_of(file: Path) -> FileReport:
    n_examples = len([line for line in file.read_bytes().splitlines() if line])
    return FileReport(
        format=format_of(file),
        n_examples=n_examples,
        n_tokens=20 * n_examples,
        n_trained_tokens=5 * n_examples,
        longest_tokens=20,
        truncated_lines=(),
        dropped_lines=(),
    )


def failing_report(failure: CheckFailure) -> Callable[[RunDirectory], CheckReport]:
    return lambda _: CheckReport(failure=failure)
