"""What is added up over the micro-batches of a step or of a validation, whatever the method."""

from typing import Protocol


class Tally(Protocol):
    n_processed_tokens: int  # prompts included, padding excluded

    @property
    def mean_loss(self) -> float:
        """The loss as the method defines it, over all that was added."""

    @property
    def accuracy(self) -> float:
        """The share that was right: of tokens, or of choices between answers."""

    def further(self) -> dict[str, float]:
        """What else the method measures, under the names of `contract.events.Metrics`."""
