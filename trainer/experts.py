"""Mixtures of experts: what a LoRA changes of them."""

from typing import Any

ATTENTION_ONLY = (
    "This base model is a mixture of experts. Its attention layers are trained; its experts, which hold most of its "
    "weights, stay as they are: LoRA does not reach them as they are stored."
)


def has_experts(model: Any) -> bool:
    """Whether some of its layers choose among experts, stored one by one or all in one tensor."""
    return any(".experts." in name for name, _ in model.named_parameters())


def is_attention(name: str) -> bool:
    """By the module's path; PEFT takes names of other projections for those of the experts, fused."""
    return "attn" in name or "attention" in name
