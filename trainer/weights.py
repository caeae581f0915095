"""The weights that a run trains, a LoRA's or all of a model's: as tensors under the names that their file has."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.adapter import copy_adapter, load_adapter


def is_adapter(model: Any) -> bool:
    """Whether it is a base with a LoRA, and not a model all of which is trained."""
    return hasattr(model, "peft_config")


def all_weights(model: Any) -> dict[str, Tensor]:
    """Of a model all of which is trained: as they are now, and as they change; tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def copy_weights(model: Any) -> dict[str, Tensor]:
    """What is trained, in main memory, as it is now."""
    if is_adapter(model):
        return copy_adapter(model)
    return {name: tensor.cpu().contiguous().clone() for name, tensor in all_weights(model).items()}


@torch.no_grad()
def set_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Raises: KeyError, RuntimeError: they are of a model of another shape."""
    if is_adapter(model):
        load_adapter(model, weights)
        return
    for name, tensor in all_weights(model).items():
        tensor.copy_(weights[name])
