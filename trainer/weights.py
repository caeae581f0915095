"""The weights that a run trains, a LoRA's or all of a model's: as tensors under the names that their file has."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from trainer.failures import LossNotFinite


def is_adapter(model: Any) -> bool:
    """Whether it is a base with a LoRA, and not a model all of which is trained."""
    return hasattr(model, "peft_config")


def trained_weights(model: Any) -> dict[str, Tensor]:
    """As they are now, and as they change; tied ones once."""
    if is_adapter(model):
        return dict(get_peft_model_state_dict(model))
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def copy_weights(model: Any) -> dict[str, Tensor]:
    """The same, in main memory, as they are now."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in trained_weights(model).items()}


@torch.no_grad()
def set_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Raises: KeyError, RuntimeError: they are of a model of another shape."""
    if is_adapter(model):
        set_peft_model_state_dict(model, dict(weights))
        return
    for name, tensor in trained_weights(model).items():
        tensor.copy_(weights[name])


def check_finite(weights: Mapping[str, Tensor], what: str, *, step: int) -> None:
    """Raises: LossNotFinite: a number in them is not finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise LossNotFinite(what, step)
