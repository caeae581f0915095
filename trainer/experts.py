"""Mixtures of experts: what a LoRA changes of them."""

from typing import Any

from trainer.failures import BaseModelUnavailable

_EXPERTS = ".experts."
ATTENTION_ONLY = (
    "This base model is a mixture of experts. Its attention layers are trained; its experts, which hold most of its "
    "weights, stay as they are: LoRA does not reach them as they are stored."
)


def has_experts(model: Any) -> bool:
    """Whether some of its layers choose among experts, stored one by one or all in one tensor."""
    return any(_EXPERTS in name for name, _ in model.named_parameters())


def leaves_experts_alone(model: Any) -> bool:
    """Whether it has experts, none of which is trained."""
    trained = [parameter.requires_grad for name, parameter in model.named_parameters() if _EXPERTS in name]
    return bool(trained) and not any(trained)


def is_attention(name: str) -> bool:
    """By the module's path; PEFT takes names of other projections for those of the experts, fused."""
    return "attn" in name or "attention" in name


def refuse_trained_experts(model: Any) -> None:
    """Raises: BaseModelUnavailable: the adapter changes experts, whose fused tensors no engine of ours serves."""
    if has_experts(model) and not leaves_experts_alone(model):
        raise BaseModelUnavailable(
            "The base model is a mixture of experts, and among the layers to be trained are some of its experts, "
            "which cannot be served. Name layers of its attention alone (q_proj, k_proj, v_proj, o_proj), or none."
        )
