"""All that changes while a run trains, as one value that can be saved and loaded."""

from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trainer import early_stopping, exact_weights
from trainer.contract.events import BestCheckpoint, Metrics
from trainer.scoring import TokenTally
from trainer.tally import Tally
from trainer.weights import copy_weights


class UnreportedStep(BaseModel, frozen=True):
    """What was measured of a step that is done but not yet validated."""

    metrics: Metrics
    learning_rate: float
    grad_norm: float


@dataclass
class TrainingState:
    """Everything but the weights goes into `dump`; those are saved in their own form."""

    model: Any
    optimizer: Optimizer
    scheduler: LambdaLR
    step: int = 0  # the last one that is done
    trained_tokens: int = 0  # processed since step 1, padding excluded
    tally: Tally = field(default_factory=TokenTally)  # of the step that is going on
    random_state: dict[str, Any] | None = None  # torch's, after the last step that is done
    unreported: UnreportedStep | None = None  # the last step that is done, while its validation is not
    best: BestCheckpoint | None = None  # of the evaluations of the whole validation file so far
    keeps_best: bool = False  # whether the best step, and not the last one, will be the result
    best_weights: dict[str, Tensor] | None = None  # what was trained, at that step, if it is kept
    is_plain: bool = True  # whether the adapter is served as it is in training
    beginning: dict[str, Tensor] | None = None  # what the adapter was given out of the base's weights; None: nothing

    def complete_step(self) -> None:
        """Count the step that `tally` is of."""
        self.step += 1
        self.trained_tokens += self.tally.n_processed_tokens
        self.random_state = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def restore_random_state(self) -> None:
        """Go on with the random numbers that follow the last step that is done."""
        if self.random_state is not None:
            torch.set_rng_state(self.random_state["cpu"])
            torch.cuda.set_rng_state_all(self.random_state["cuda"])

    def take_evaluation(self, full_valid_loss: float) -> None:
        """Take in the loss on the whole validation file after the step that is done."""
        self.best = early_stopping.compare(self.best, step=self.step, full_valid_loss=full_valid_loss)
        if self.is_best and self.keeps_best:
            self.best_weights = copy_weights(self.model)

    @property
    def is_best(self) -> bool:
        """Whether the step that is done is the best so far."""
        return self.best is not None and self.best.step == self.step

    def dump(self) -> dict[str, Any]:
        """Give what `torch.load(weights_only=True)` reads back."""
        return {
            "step": self.step,
            "trained_tokens": self.trained_tokens,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "exact": exact_weights.dump(self.model, self.optimizer),
            "random_state": self.random_state,
            "unreported": None if self.unreported is None else self.unreported.model_dump(),
            "best": None if self.best is None else self.best.model_dump(),
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take up what was dumped; the model has the weights of that checkpoint."""
        self.step = dumped["step"]
        self.trained_tokens = dumped["trained_tokens"]
        self.optimizer.load_state_dict(dumped["optimizer"])
        self.scheduler.load_state_dict(dumped["scheduler"])
        exact_weights.load(self.model, self.optimizer, dumped.get("exact", []))
        self.random_state = dumped["random_state"]
        waiting = dumped.get("unreported")  # a checkpoint of an older version has neither this nor the best
        self.unreported = None if waiting is None else UnreportedStep.model_validate(waiting)
        found = dumped.get("best")
        self.best = None if found is None else BestCheckpoint.model_validate(found)
