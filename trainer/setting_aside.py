"""Make room on a GPU for a second model, for a while, and put the first back bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def set_aside(model: Any) -> Iterator[None]:
    """Keep the model's weights in main memory; on a CPU they are there already, and nothing is done.

    Inside, the model cannot compute.
    """
    device = model.device
    if device.type == "cpu":
        yield
        return
    kept = []
    for parameter in model.parameters():
        kept.append((parameter, parameter.data.cpu()))
        parameter.data = torch.empty(0, dtype=parameter.dtype, device=device)
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        torch.cuda.empty_cache()
        for parameter, data in kept:
            parameter.data = data.to(device)
