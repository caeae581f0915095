"""Make room on a GPU for a second model, for a while, and put the first back bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def set_aside(model: Any) -> Iterator[None]:
    """Keep the model's weights in main memory; on a CPU they are there already, and nothing is done.

    Inside, the model cannot compute.
    """
    if model.device.type == "cpu":
        yield
        return
    with emptied(model):
        torch.cuda.empty_cache()
        try:
            yield
        finally:
            torch.cuda.empty_cache()


@contextmanager
def emptied(model: Any) -> Iterator[None]:
    """Take every weight out of the model, into main memory; one that is held at two places is taken once."""
    device = model.device
    in_memory: dict[tuple[int, torch.Size], Tensor] = {}
    kept = []
    for owner, name in _places(model):
        weight = getattr(owner, name)
        key = (weight.data_ptr(), weight.shape)
        in_memory[key] = in_memory[key] if key in in_memory else weight.cpu()
        kept.append((owner, name, key))
    for owner, name, key in kept:
        setattr(owner, name, torch.empty(0, dtype=in_memory[key].dtype, device=device))
    try:
        yield
    finally:
        back = {key: weight.to(device) for key, weight in in_memory.items()}
        for owner, name, key in kept:
            setattr(owner, name, back[key])


def _places(model: Any) -> list[tuple[Any, str]]:
    """Where weights are held: by parameters, and by the state of a layer in 8 bits once it has computed."""
    states = [getattr(module, "state", None) for module in model.modules()]
    in_8_bits = [(state, "CB") for state in states if getattr(state, "CB", None) is not None]
    return [*((parameter, "data") for parameter in model.parameters()), *in_8_bits]
