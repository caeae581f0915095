"""PiSSA: the adapter begins as the base's largest singular components, which are taken out of the base's weights.

In 32-bit floats it is bit for bit what PEFT's `init_lora_weights="pissa"` makes (arXiv 2404.02948). It is done here
because a resumed run must not find other components: those that were taken out are kept, and taken out again.
"""

from typing import Any

import torch
from torch import Tensor

from trainer.adapter import adapted_layers, copy_adapter, load_adapter
from trainer.failures import TrainerError


def take_out(model: Any, stored: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Give a fresh adapter its beginning, or the stored one, and take that out of the base; the beginning is returned.

    One full singular value decomposition a layer: exact, and the same each time.

    Raises:
        TrainerError: a layer has fewer components than the adapter's rank.
    """
    if stored is None:
        for _, layer in adapted_layers(model):
            _begin(layer)
    else:
        load_adapter(model, stored)
    for _, layer in adapted_layers(model):
        _subtract(layer)
    return copy_adapter(model)


def _begin(layer: Any) -> None:
    weight_OI = layer.get_base_layer().weight.data
    u_OK, s_K, v_KI = torch.linalg.svd(weight_OI.float(), full_matrices=False)
    factor_A, factor_B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rank = len(factor_A)
    if rank > len(s_K):
        raise TrainerError(
            f"PiSSA takes no more components out of a layer than it has: the rank {rank} is larger than the "
            f"{len(s_K)} of the smallest layer. Ask for a smaller rank.",
            param="adapter.rank",
        )
    root_RR = torch.diag(torch.sqrt(s_K[:rank] / layer.scaling["default"]))
    factor_A.data = (root_RR @ v_KI[:rank]).to(factor_A.dtype)
    factor_B.data = (u_OK[:, :rank] @ root_RR).to(factor_B.dtype)


def _subtract(layer: Any) -> None:
    weight_OI = layer.get_base_layer().weight
    factor_A, factor_B = (factors["default"].weight.data.float() for factors in (layer.lora_A, layer.lora_B))
    rest_OI = weight_OI.data.float() - layer.scaling["default"] * factor_B @ factor_A
    weight_OI.data = rest_OI.to(weight_OI.dtype)
