"""What an adapter's `adapter_config.json` must say for an engine of ours to serve it."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.engine import AdapterRejected

CONFIG = "adapter_config.json"

_MAX_SCALING = 256.0  # ours is 2; at such a one any step of training would have ruined the model
_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)  # of a module's name; what else PEFT reads as a regex
_NOT_SERVABLE = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
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
    _check_numbers(config, max_rank)
    check_scaling("", config)
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


def rank_of(module: str, config: Mapping[str, Any]) -> int:
    """The rank of a module's factors, by a config that was checked."""
    return int(_of_module(module, _pattern(config, "rank_pattern"), config["r"]))


def alpha_of(module: str, config: Mapping[str, Any]) -> float:
    """What `rank_of` is for the rank, for what the product is multiplied with."""
    alpha: float = _of_module(module, _pattern(config, "alpha_pattern"), config["lora_alpha"])
    return alpha


def check_scaling(module: str, config: Mapping[str, Any]) -> None:
    """Of a module, or of all that no pattern names (""). Raises: AdapterRejected."""
    rank, alpha = rank_of(module, config), alpha_of(module, config)
    largest = _MAX_SCALING * (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not 0 < alpha <= largest:  # nor what is no number
        raise AdapterRejected(f"the adapter's scaling, of lora_alpha and rank, is not between 0 and {_MAX_SCALING:g}")


def _check_numbers(config: Mapping[str, Any], max_rank: int) -> None:
    ranks, alphas = _pattern(config, "rank_pattern"), _pattern(config, "alpha_pattern")
    for rank in (config.get("r"), *ranks.values()):
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= max_rank:
            raise AdapterRejected(f"the adapter's rank is not between 1 and {max_rank}")
    for alpha in (config.get("lora_alpha"), *alphas.values()):
        if not isinstance(alpha, int | float) or isinstance(alpha, bool):
            raise AdapterRejected("the adapter's lora_alpha is not a number")


def _pattern(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    pattern = config.get(name) or {}
    if not isinstance(pattern, dict) or not all(map(_PLAIN.fullmatch, pattern)):
        raise AdapterRejected(f"the adapter's {name} does not name modules")
    return pattern


def _of_module(module: str, pattern: Mapping[str, Any], otherwise: Any) -> Any:
    """As PEFT and vLLM look it up: the first name that the module's ends with."""
    return next((value for name, value in pattern.items() if f".{module}".endswith(f".{name}")), otherwise)
