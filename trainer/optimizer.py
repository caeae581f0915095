"""The optimizer over what is trained, and its learning rate over the run."""

from functools import partial
from typing import Any

import torch

from trainer import exact_weights, learning_rate
from trainer.contract.spec import Optimizer, Steps


def build_optimizer(model: Any, steps: Steps, total_steps: int) -> tuple[Any, Any]:
    """The optimizer and its scheduler; after the last step the learning rate is 0."""
    stepped = exact_weights.to_step(model)
    optimizer = _build(steps.optimizer, stepped, lr=steps.learning_rate, weight_decay=steps.weight_decay)
    exact_weights.follow(optimizer, model)
    factor = partial(
        learning_rate.factor,
        scheduler=steps.lr_scheduler,
        total_steps=total_steps,
        warmup_ratio=steps.warmup_ratio,
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: factor(step) if step < total_steps else 0.0
    )


def _build(name: Optimizer, parameters: list[Any], *, lr: float, weight_decay: float) -> Any:
    """AdamW; those with moments of 8 bits, or in pages that move to main memory, are bitsandbytes'."""
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    from bitsandbytes.optim import adamw

    classes = {
        "adamw_8bit": adamw.AdamW8bit,
        "paged_adamw_8bit": adamw.PagedAdamW8bit,
        "paged_adamw_32bit": adamw.PagedAdamW32bit,
    }
    return classes[name](parameters, lr=lr, weight_decay=weight_decay)
