"""What an adapter's `adapter_config.json` must say for an engine of ours to serve it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.engine import AdapterRejected

CONFIG = "adapter_config.json"

_MAX_SCALING = 256.0  # ours is 2; at such a one any step of training would have ruined the model
_NOT_SERVABLE = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)


def read_config(directory: Path) -> Mapping[str, Any]:
    """Raises: AdapterRejected."""
    try:
        config = json.loads((directory / CONFIG).read_bytes())
    except OSError as error:
        raise AdapterRejected(f"the adapter's {CONFIG} is missing or cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise AdapterRejected(f"the adapter's {CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise AdapterRejected(f"the adapter's {CONFIG} is not a JSON object")
    return config


def check_config(config: Mapping[str, Any], max_rank: int) -> None:
    """Raises: AdapterRejected: no engine of ours serves such an adapter."""
    if config.get("peft_type") != "LORA":
        raise AdapterRejected("the adapter is not a LoRA adapter")
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= max_rank:
        raise AdapterRejected(f"the adapter's rank is not between 1 and {max_rank}")
    _check_scaling(config, rank)
    if config.get("bias", "none") != "none":
        raise AdapterRejected("the adapter trains biases, which the engine does not serve")
    for key in _NOT_SERVABLE:
        if config.get(key):
            raise AdapterRejected(f"the adapter uses {key}, which the engine does not serve")


def is_target(module: str, config: Mapping[str, Any]) -> bool:
    """Whether the config has the adapter change this module."""
    targets = config.get("target_modules")
    if isinstance(targets, str):
        return True  # a pattern, which its tensors are not compared with
    return isinstance(targets, list) and any(f".{module}".endswith(f".{target}") for target in targets)


def _check_scaling(config: Mapping[str, Any], rank: int) -> None:
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise AdapterRejected("the adapter's lora_alpha is not a number")
    largest = _MAX_SCALING * (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not 0 < alpha <= largest:  # nor what is no number
        raise AdapterRejected(f"the adapter's scaling, of lora_alpha and rank, is not between 0 and {_MAX_SCALING:g}")
