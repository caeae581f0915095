"""What the trainers of preferences share: TRL's own loss on each micro-batch, weighted by its examples."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from transformers import PrinterCallback

from trainer.methods.preference_tally import PreferenceTally
from trainer.methods.stepwise import Stepwise, arguments
from trainer.ongoing import OngoingRun


class Preferences(Protocol):
    """Examples, and how some of them are laid out."""

    def of_step(self, step: int) -> dict[str, Any]:
        """The item of a training step."""

    def of_validation(self, numbers: Sequence[int]) -> dict[str, Any]:
        """An item of validation examples, likewise."""


class Preferring(Stepwise):
    """`sum_losses` is the method's, and calls TRL's loss, which is a mean over the examples of a micro-batch."""

    def new_tally(self, n_tokens: int) -> PreferenceTally:
        return PreferenceTally(n_processed_tokens=n_tokens)

    def sum_losses(self, model: Any, micro_batch: dict[str, Tensor], tally: PreferenceTally) -> Tensor:
        """The loss summed over the examples; what else TRL measures is added to the tally."""
        raise NotImplementedError

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The part of this micro-batch in the mean loss of the step."""
        tally = self._run.state.tally
        if return_outputs or not isinstance(tally, PreferenceTally):
            raise NotImplementedError("only the loss of a step is computed")
        share: Tensor = self.sum_losses(model, inputs, tally) / num_items_in_batch
        return share

    def measure(self, preferences: Preferences, numbers: Sequence[int]) -> PreferenceTally:
        """What the model as it is makes of validation examples."""
        model = self._run.state.model
        item, tally = preferences.of_validation(numbers), PreferenceTally()
        self.before_step(item)
        for micro_batch in item["micro_batches"]:
            self._run.interruption.check()
            self.sum_losses(model, {name: tensor.to(model.device) for name, tensor in micro_batch.items()}, tally)
        return tally

    def take_metrics(self, model: Any) -> dict[str, float]:
        """What TRL has measured since it was last asked."""
        kept: dict[str, list[float]] = self._metrics["train" if model.training else "eval"]  # type: ignore[attr-defined]
        means = {name: values[-1] for name, values in kept.items()}
        kept.clear()
        return means


def preference_arguments(run: OngoingRun) -> dict[str, Any]:
    """TRL switches dropout off in these methods; where it was asked for, it is on."""
    lora = run.spec.lora
    return {**arguments(run), "disable_dropout": lora is None or lora.dropout == 0}


def start(trainer: Preferring, run: OngoingRun) -> None:
    """What follows the constructors of TRL."""
    trainer.begin(run)
    trainer.remove_callback(PrinterCallback)


def step_of(items: list[dict[str, int]]) -> int:
    (item,) = items
    return item["step"]
