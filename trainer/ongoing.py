"""What the parts of a run that is going on share."""

from dataclasses import dataclass

from trainer import early_stopping
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import TrainingSpec
from trainer.interruption import Interruption
from trainer.measuring import Meter
from trainer.order import StepOrder
from trainer.reporter import Reporter
from trainer.state import TrainingState


@dataclass(frozen=True)
class OngoingRun:
    directory: RunDirectory
    spec: TrainingSpec
    reporter: Reporter
    interruption: Interruption
    order: StepOrder
    state: TrainingState
    meter: Meter
    packs: bool = False  # whether examples share rows

    @property
    def steps_left(self) -> range:
        return range(self.state.step + 1, 1 + (self.state.step if self.is_over else self.order.total_steps))

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or patience with the validation loss is."""
        patience = self.spec.method.early_stopping_patience
        is_patience_over = early_stopping.is_patience_over(self.state.best, patience)
        return is_patience_over or self.state.step >= self.order.total_steps
