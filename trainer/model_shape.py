"""What a base model's `config.json` alone says of it: its shape, and that it is one of text. No weights, no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.contract.shape import Experts, ModelShape
from trainer.contract.spec import BaseModelSource
from trainer.environment import is_local
from trainer.failures import BaseModelUnavailable

_LLAMA_LIKE = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma3_text", "olmo2"})
_MIXTURES = frozenset({"mixtral", "qwen2_moe", "qwen3_moe"})
_TIED = frozenset({"gemma", "gemma3_text"})  # where the configuration does not say


def read_config(source: BaseModelSource) -> Mapping[str, Any] | None:
    """The base model's `config.json`; None if there is none."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        source.source,
        "config.json",
        revision=source.revision,
        local_files_only=is_local(source),
        _raise_exceptions_for_missing_entries=False,
    )
    config: Mapping[str, Any] | None = None if path is None else json.loads(Path(path).read_bytes())
    return config


def read_shape(source: BaseModelSource) -> ModelShape | None:
    """The shape of the base model; None if it is not of a family whose layers are known."""
    config = read_config(source)
    return None if config is None else shape_of(config)


def refuse_other_than_text(config: Mapping[str, Any]) -> None:
    """Raises: BaseModelUnavailable: the model takes images or sound, too, by layers with the names of those of text."""
    if any(config.get(f"{kind}_config") for kind in ("vision", "audio")):
        raise BaseModelUnavailable(
            "The base model takes images or sound besides text, and such models are not trained here. "
            "Choose the model of text of its family."
        )


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """The same of what `config.json` holds."""
    if config.get("model_type") not in _LLAMA_LIKE | _MIXTURES:
        return None
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head_dim = config.get("head_dim") or (hidden // heads if hidden and heads else None)
    sizes = {
        "hidden": hidden,
        "intermediate": config.get("intermediate_size"),
        "layers": config.get("num_hidden_layers"),
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": head_dim,
        "vocabulary": config.get("vocab_size"),
    }
    tied = config.get("tie_word_embeddings", config["model_type"] in _TIED)
    try:
        return ModelShape.model_validate({**sizes, "tied": tied, "experts": _experts_of(config)})
    except (ValidationError, TypeError, KeyError):
        return None


def _experts_of(config: Mapping[str, Any]) -> Experts | None:
    """Raises: ValidationError, TypeError, KeyError: a size is missing, or is none."""
    if config["model_type"] not in _MIXTURES:
        return None
    is_mixtral = config["model_type"] == "mixtral"
    n_layers = config["num_hidden_layers"] if is_mixtral else _mixed_layers(config)
    if n_layers == 0:
        return None
    return Experts.model_validate(
        {
            "layers": n_layers,
            "number": config.get("num_local_experts", config.get("num_experts")),  # as stored by which version
            "active": config.get("num_experts_per_tok"),
            "intermediate": config.get("intermediate_size" if is_mixtral else "moe_intermediate_size"),
            "shared_intermediate": config.get("shared_expert_intermediate_size") or 0,
        }
    )


def _mixed_layers(config: Mapping[str, Any]) -> int:
    """Qwen's: every so many layers, but not those that are named."""
    step, dense = config.get("decoder_sparse_step") or 1, config.get("mlp_only_layers") or ()
    return sum((layer + 1) % step == 0 and layer not in dense for layer in range(config["num_hidden_layers"]))
