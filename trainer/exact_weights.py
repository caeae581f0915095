"""Weights that are trained in 16 bits are stepped in 32: the optimizer has exact copies, and they have its results.

A step is often smaller than what 16 bits can tell apart, and so is what the second moment forgets at each step.
"""

from typing import Any

import torch
from torch import Tensor


def to_step(model: Any) -> list[Any]:
    """What an optimizer is to be given: each parameter in training, or, of one in 16 bits, a copy in 32."""
    return [
        parameter if parameter.dtype == torch.float32 else torch.nn.Parameter(parameter.detach().float())
        for parameter in _trained(model)
    ]


def follow(optimizer: Any, model: Any) -> None:
    """Have a step take its gradients from the weights in training, and give those the results, rounded once."""
    pairs = _pairs(model, optimizer)

    def take_gradients(*_: Any) -> None:
        for own, exact in pairs:
            exact.grad = None if own.grad is None else own.grad.float()

    @torch.no_grad()
    def give_weights(*_: Any) -> None:
        for own, exact in pairs:
            own.copy_(exact)
            exact.grad = None

    if pairs:
        optimizer.register_step_pre_hook(take_gradients)
        optimizer.register_step_post_hook(give_weights)


def dump(model: Any, optimizer: Any) -> list[Tensor]:
    """The exact copies; none where the weights in training are exact themselves."""
    return [exact.detach().cpu().clone() for _, exact in _pairs(model, optimizer)]


@torch.no_grad()
def load(model: Any, optimizer: Any, dumped: list[Tensor]) -> None:
    """Take up the copies of a checkpoint whose weights the model has; without them, the weights as they are."""
    pairs = _pairs(model, optimizer)
    for (_, exact), value in zip(pairs, dumped or [own for own, _ in pairs], strict=True):
        exact.copy_(value)


def _pairs(model: Any, optimizer: Any) -> list[tuple[Any, Any]]:
    """The weights that are not stepped themselves, each with its copy."""
    stepped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    both = zip(_trained(model), stepped, strict=True)
    return [(own, exact) for own, exact in both if own is not exact]


def _trained(model: Any) -> list[Any]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
