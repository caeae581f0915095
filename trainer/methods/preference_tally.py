"""Means over the preferences of a step or a validation, whatever its micro-batches are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

_FIGURES = {
    "rewards/chosen": "rewards_chosen",
    "rewards/rejected": "rewards_rejected",
    "rewards/accuracies": "rewards_accuracies",
    "logps/chosen": "logps_chosen",
    "logps/rejected": "logps_rejected",
    "kl": "kl",
    "nll_loss": "nll_loss",
}  # TRL's names → those of `contract.events.Metrics`


@dataclass
class PreferenceTally:
    n_processed_tokens: int = 0
    _sums: dict[str, float] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)

    def add(self, means: Mapping[str, float], weight: int) -> None:
        """Figures that are means over so many examples; what is a mean over none says nothing."""
        for name, mean in means.items() if weight else ():
            self._sums[name] = self._sums.get(name, 0.0) + mean * weight
            self._weights[name] = self._weights.get(name, 0) + weight

    @property
    def mean_loss(self) -> float:
        return self._mean("loss")

    @property
    def accuracy(self) -> float:
        return self._mean("rewards/accuracies")

    def further(self) -> dict[str, float]:
        figures = {name: self._mean(of_trl) for of_trl, name in _FIGURES.items() if of_trl in self._sums}
        if "rewards_chosen" in figures and "rewards_rejected" in figures:
            figures["rewards_margins"] = figures["rewards_chosen"] - figures["rewards_rejected"]
        return figures

    def _mean(self, name: str) -> float:
        return self._sums[name] / self._weights[name] if name in self._sums else math.nan
