"""What is published of an adapter, whatever it was trained as: a plain LoRA, which every engine applies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.adapter import adapted_layers
from trainer.contract.spec import LoraSettings
from trainer.layer_inputs import InputWeights, weigh_inputs

_A, _B = ".lora_A.weight", ".lora_B.weight"
_EXACT_UP_TO = 1024  # rows or columns; larger ones are decomposed by random projections, in seconds instead of minutes
_OVERSAMPLED, _ROUNDS, _SEED = 32, 6, 31


@dataclass(frozen=True)
class PlainLora:
    tensors: Mapping[str, Tensor]  # in main memory, under PEFT's names
    rank: int
    alpha: int
    rslora: bool = False


def as_trained(tensors: Mapping[str, Tensor], lora: LoraSettings) -> PlainLora:
    """Of a LoRA, which is one already."""
    return PlainLora(tensors, lora.rank, lora.alpha, lora.rslora)


def without_beginning(tensors: Mapping[str, Tensor], beginning: Mapping[str, Tensor], scaling: float) -> PlainLora:
    """Of PiSSA: what it is now less what it began as, side by side; exact, with twice the rank."""
    joined: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_A):
            joined[name] = torch.cat([tensor, beginning[name]], dim=0).contiguous()
        else:
            joined[name] = (scaling * torch.cat([tensor, -beginning[name]], dim=1)).contiguous()
    rank = next(len(tensor) for name, tensor in joined.items() if name.endswith(_A))
    return PlainLora(joined, rank, alpha=rank)


class Changes:
    """What merging an adapter changes in each weight, by singular components; any number of them is a plain LoRA.

    The components are those of the change as the layer's inputs weigh it: on texts like the examples the error is
    several times smaller than with the components of the change itself, and on others no larger.
    """

    def __init__(self, model: Any, examples: Sequence[Tensor], *, most: int) -> None:
        """Look at an adapter on the base that serves; no more than `most` components of a layer are kept."""
        weights = weigh_inputs(model, examples)
        self._factors = {name: _decompose(_change(layer), weights[name], most) for name, layer in adapted_layers(model)}
        self._type = next(parameter.dtype for parameter in model.parameters() if parameter.requires_grad)

    def of_rank(self, rank: int) -> PlainLora:
        """The nearest LoRA of this rank; smaller layers than that are padded with zeros."""
        tensors = {name: tensor.to(self._type) for name, tensor in self._tensors(rank)}
        return PlainLora(tensors, rank, alpha=rank)

    def _tensors(self, rank: int) -> Iterator[tuple[str, Tensor]]:
        for name, (factor_A, factor_B) in self._factors.items():
            missing = max(0, rank - len(factor_A))
            yield name + _A, torch.nn.functional.pad(factor_A[:rank], (0, 0, 0, missing)).contiguous()
            yield name + _B, torch.nn.functional.pad(factor_B[:, :rank], (0, missing)).contiguous()


def _change(layer: Any) -> Tensor:
    """By PEFT's own merge; the layer keeps the weight that it has."""
    weight = layer.get_base_layer().weight
    before = weight.data
    weight.data = before.float()
    layer.merge(safe_merge=True)
    change_OI: Tensor = weight.data - before.float()
    layer.merged_adapters.clear()
    weight.data = before
    return change_OI


def _decompose(change_OI: Tensor, inputs: InputWeights, most: int) -> tuple[Tensor, Tensor]:
    """The factors of a LoRA with scaling 1, largest components first, in main memory."""
    change_OI = inputs.weigh(change_OI)
    if min(change_OI.shape) <= _EXACT_UP_TO:
        u_OK, s_K, v_KI = torch.linalg.svd(change_OI, full_matrices=False)
    else:
        torch.manual_seed(_SEED)
        u_OK, s_K, v_IK = torch.svd_lowrank(change_OI, q=min(most + _OVERSAMPLED, *change_OI.shape), niter=_ROUNDS)
        v_KI = v_IK.T
    root_K = torch.sqrt(s_K[:most])
    return inputs.unweigh(root_K[:, None] * v_KI[:most]).cpu(), (u_OK[:, :most] * root_K).cpu()
