"""After each step: report it, validate, save, and stop if asked to; TRL's callback."""

import math
import time
from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.checkpoints import prune, save_checkpoint
from trainer.contract.events import CheckpointSaved, Metrics, Progress
from trainer.failures import LossNotFinite
from trainer.full_model import FullPublication
from trainer.ongoing import OngoingRun
from trainer.publication import Publication
from trainer.state import UnreportedStep
from trainer.tally import Tally
from trainer.validation import Validation

_RECENT_STEPS = 20


class StepCallback(TrainerCallback):
    """Does what follows a step, in this order: report, checkpoint, stop."""

    def __init__(
        self, run: OngoingRun, validation: Validation | None, publication: Publication | FullPublication
    ) -> None:
        self._run = run
        self._publication = publication
        self._validation = validation
        self._times = deque([time.monotonic()], maxlen=_RECENT_STEPS + 1)
        self._saved_step = run.state.step if run.state.unreported is None else None
        self._metrics: Metrics | None = None  # of the last step that is done, once they are whole

    def on_step_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self._run.meter.begin_step()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - transformers passes it by position, as the next one
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Take the place of TRL's log line; `logs` has a gradient norm after each step, and once more none."""
        if logs is None or "grad_norm" not in logs:
            return
        self._run.state.complete_step()
        self._run.meter.end_step(n_tokens=self._run.state.tally.n_processed_tokens)
        step, tally = self._run.state.step, self._run.state.tally
        if not math.isfinite(logs["grad_norm"]):
            raise LossNotFinite("gradient norm", step)
        metrics = Metrics(train_loss=tally.mean_loss, train_mean_token_accuracy=tally.accuracy, **tally.further())
        self._run.state.unreported = UnreportedStep(
            metrics=metrics, learning_rate=logs["learning_rate"], grad_norm=logs["grad_norm"]
        )
        self.finish_step()
        if self._run.is_over:
            control.should_training_stop = True
        self._run.interruption.check()

    def finish_step(self) -> None:
        """Validate and report the last step that is done, and save it if it is its turn; nothing, if that was done.

        It was not where a run was asked to stop in the middle of a validation, which can take as long as many steps:
        the run that goes on begins with it.

        Raises:
            StopRequested: as above; no progress is reported of the step.
        """
        done = self._run.state.unreported
        if done is None:
            return
        step, metrics = self._run.state.step, done.metrics
        try:
            metrics = self._validate(step, metrics)
        except LossNotFinite:
            self._report(done)
            raise
        self._report(done.model_copy(update={"metrics": metrics}))
        if self._run.order.epoch_ended_by(step) or self._is_checkpoint_due(step):
            self.save()

    def save(self) -> None:
        """Save a checkpoint of the last step that is done, unless there is one; then prune.

        One of a step that is still to be validated only serves to resume, also where it ends an epoch: the run that
        goes on saves it once more.
        """
        step, waiting = self._run.state.step, self._run.state.unreported
        metrics = self._metrics if waiting is None else waiting.metrics
        if step == self._saved_step or metrics is None:
            return
        directory = save_checkpoint(self._run.directory, self._run.state, self._publication.of_checkpoint)
        self._saved_step = step
        self._run.reporter.report(
            CheckpointSaved,
            step=step,
            epoch=self._run.order.epoch_ended_by(step) if waiting is None else None,
            directory=str(directory.relative_to(self._run.directory.root)),
            metrics=metrics,
            is_best=self._run.state.is_best,
        )
        best = self._run.state.best
        prune(
            self._run.directory,
            ends_epoch=lambda step: self._run.order.epoch_ended_by(step) is not None,
            best_step=None if best is None else best.step,
            are_published=self._run.spec.lora is not None,
        )

    def _validate(self, step: int, metrics: Metrics) -> Metrics:
        if self._validation is None:
            return metrics
        measured: dict[str, float] = {}
        if self._validation.is_due(step):
            measured |= _measured("valid", self._validation.measure_part(step))
        if self._run.order.epoch_ended_by(step):
            measured |= _measured("full_valid", self._validation.measure_all())
        if not all(map(math.isfinite, measured.values())):
            raise LossNotFinite("validation loss", step)
        if "full_valid_loss" in measured:
            self._run.state.take_evaluation(measured["full_valid_loss"])
        return metrics.model_copy(update=measured)

    def _report(self, done: UnreportedStep) -> None:
        self._run.state.unreported = None
        self._metrics = done.metrics
        self._times.append(time.monotonic())
        self._run.reporter.report(
            Progress,
            step=self._run.state.step,
            total_steps=self._run.order.total_steps,
            metrics=done.metrics,
            trained_tokens=self._run.state.trained_tokens,
            learning_rate=done.learning_rate,
            grad_norm=done.grad_norm,
            seconds_per_step=(self._times[-1] - self._times[0]) / (len(self._times) - 1),
        )

    def _is_checkpoint_due(self, step: int) -> bool:
        every = self._run.spec.checkpoint_every_steps
        return every > 0 and step % every == 0


def _measured(prefix: str, tally: Tally) -> dict[str, float]:
    figures = {f"{prefix}_loss": tally.mean_loss, f"{prefix}_mean_token_accuracy": tally.accuracy}
    margins = tally.further().get("rewards_margins")
    return figures if margins is None else {**figures, f"{prefix}_rewards_margins": margins}
