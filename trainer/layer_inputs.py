"""What goes into each adapted layer on real examples: a low-rank change is chosen to be right there first.

The error of a layer's output weighs a direction of its input by how strongly the examples use it, and by as much again
for every direction alike, so that what the examples never show is not given up. T tokens, I inputs, O outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.adapter import adapted_layers


@dataclass(frozen=True)
class InputWeights:
    """The symmetric square root of (X'X / T + m), m the mean of its diagonal: never formed, as I can be large."""

    floor: float
    directions_KI: Tensor  # orthonormal, in main memory
    gains_K: Tensor  # of those directions; of all others the floor

    def weigh(self, change_OI: Tensor) -> Tensor:
        return self._scale(change_OI, self.gains_K, self.floor)

    def unweigh(self, factor_RI: Tensor) -> Tensor:
        return self._scale(factor_RI, 1 / self.gains_K, 1 / self.floor)

    def _scale(self, rows_XI: Tensor, gains_K: Tensor, floor: float) -> Tensor:
        directions_KI, gains_K = self.directions_KI.to(rows_XI.device), gains_K.to(rows_XI.device)
        return floor * rows_XI + (rows_XI @ directions_KI.T) * (gains_K - floor) @ directions_KI


@torch.no_grad()
def weigh_inputs(model: Any, examples: Sequence[Tensor]) -> Mapping[str, InputWeights]:
    """Run the model over the examples, token ids of shape (1, T) each."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: _keep(seen, name, inputs[0]))
        for name, layer in adapted_layers(model)
    ]
    try:
        for tokens_1T in examples:
            model(input_ids=tokens_1T.to(model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _weights_of(torch.cat(inputs)) for name, inputs in seen.items()}


def _keep(seen: dict[str, list[Tensor]], name: str, inputs: Tensor) -> None:
    seen.setdefault(name, []).append(inputs.detach().reshape(-1, inputs.shape[-1]).float().cpu())


def _weights_of(inputs_TI: Tensor) -> InputWeights:
    mean = float(inputs_TI.square().mean())
    _, s_K, directions_KI = torch.linalg.svd(inputs_TI, full_matrices=False)
    gains_K = torch.sqrt(s_K.square() / len(inputs_TI) + mean)
    return InputWeights(mean**0.5, directions_KI, gains_K)
