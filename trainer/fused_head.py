"""TRL's output head, which scores tokens without ever holding the logits of all positions."""

from typing import Any

from trl.trainer.utils import add_fused_lm_head

from trainer.weights import is_adapter


def give_fused_head(model: Any) -> None:
    """Let the model be asked for `fused_lm_head`, as it is on a GPU; one that has such a head may be given it again."""
    add_fused_lm_head(model.get_base_model() if is_adapter(model) else model)
