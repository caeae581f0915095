"""What the parts of a run that is going on share."""

from dataclasses import dataclass

from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import TrainingSpec
from trainer.interruption import Interruption
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

    @property
    def steps_left(self) -> range:
        return range(self.state.step + 1, self.order.total_steps + 1)
