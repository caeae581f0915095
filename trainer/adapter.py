"""The adapter of a model in training: attach it, copy its weights, give it others."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from trainer.contract.spec import LoraSettings
from trainer.experts import has_experts, is_attention, refuse_trained_experts
from trainer.failures import BaseModelUnavailable


def attach_lora(model: Any, lora: LoraSettings, seed: int) -> Any:
    """Wrap the layers that the settings name; the same seed gives the same adapter.

    The adapter keeps the base's type: PEFT's default, float32 beside bfloat16, stores 58 % more activations.
    That of PiSSA still has to be given its beginning (trainer.pissa).

    Raises:
        BaseModelUnavailable: the base has no linear layer of such a name, or it is one that no engine serves.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_dora=lora.variant == "dora",
        use_rslora=lora.rslora,
        target_modules=_targets(model, lora),
        task_type="CAUSAL_LM",
    )
    attached = get_peft_model(model, config, autocast_adapter_dtype=False)
    refuse_trained_experts(attached)
    if getattr(model, "is_quantized", False):
        for parameter in attached.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(model.dtype)
        model.is_loaded_in_4bit = model.is_loaded_in_8bit = False  # TRL would make the adapter bfloat16, on a CPU too
    return attached


def copy_adapter(model: Any) -> dict[str, Tensor]:
    """The adapter's weights as they are now, in main memory, under PEFT's names."""
    return {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in get_peft_model_state_dict(model).items()
    }


def load_adapter(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Give the adapter these weights, which are under PEFT's names."""
    set_peft_model_state_dict(model, dict(weights))


def adapted_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer that the adapter changes, with its name as PEFT's files have it."""
    for name, module in model.named_modules():
        if "default" in getattr(module, "lora_A", {}):
            yield name, module


def linear_layers(model: Any) -> list[str]:
    """The names of all linear layers but the output head; PEFT's own "all-linear" lists each with its place.

    Of a mixture of experts, those of its attention.
    """
    head = model.get_output_embeddings()
    found = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    if has_experts(model):
        found = [name for name in found if is_attention(name)]
    return sorted({name.rpartition(".")[2] for name in found})


def _targets(model: Any, lora: LoraSettings) -> list[str]:
    present = linear_layers(model)
    if lora.target_modules == "all-linear":
        return present
    unknown = sorted(set(lora.target_modules) - set(present))
    if unknown:
        raise BaseModelUnavailable(
            f"The base model has no linear layers named {', '.join(unknown)}. It has {', '.join(present)}.",
            param="adapter.target_modules",
        )
    return sorted(set(lora.target_modules))
