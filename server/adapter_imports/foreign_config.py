"""What an `adapter_config.json` made elsewhere says that matters; whatever else stands there is dropped (pure).

A field that would change what the adapter does, and that is not served here, is refused by its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.adapter_imports.unusable import shown, unusable

_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)
# These say only with which numbers training began, and leave the base model as it was.
_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
_AS_PLAIN_LORA = "Train it again as plain LoRA, or merge it into its base and extract a plain LoRA of that"
_REFUSED = {
    "use_dora": f"DoRA's magnitudes have no place in a LoRA. {_AS_PLAIN_LORA}",
    "lora_bias": f"biases of the factors are not served. {_AS_PLAIN_LORA}",
    "modules_to_save": "whole modules beside the factors are not served. Train it without modules_to_save",
    "trainable_token_indices": "trained tokens are not served. Train it without them",
    "target_parameters": "parameters that are no modules, such as experts', are not served. Target linear layers alone",
    "layer_replication": "replicated layers are another base model. Train it on the base as it is",
    "alora_invocation_tokens": f"activated LoRA is not served. {_AS_PLAIN_LORA}",
    "fan_in_fan_out": "its factors are transposed. Save it for linear layers, with fan_in_fan_out false",
    "use_qalora": f"QALoRA is not served. {_AS_PLAIN_LORA}",
    "use_bdlora": f"block-diagonal LoRA is not served. {_AS_PLAIN_LORA}",
}
_WITHOUT_EFFECT = (  # of training, or of how PEFT finds what the tensors name
    *("eva_config", "corda_config", "loftq_config", "lora_ga_config", "megatron_config", "runtime_config"),
)


@dataclass(frozen=True)
class ForeignLora:
    rank: int
    alpha: float
    is_rank_stabilised: bool
    targets: tuple[str, ...] | None  # as the modules' names end; None: PEFT's own word or a regex, which is not asked
    is_complete: bool  # whether every module of such a name is to have factors
    ranks: Mapping[str, int] = field(default_factory=dict)  # of modules whose names end so; the first one counts
    alphas: Mapping[str, float] = field(default_factory=dict)


def read_foreign_config(config: Mapping[str, Any]) -> ForeignLora:
    """Raises: InvalidRequest: no engine of ours serves such an adapter as it is."""
    _refuse_other_methods(config)
    for name, reason in _REFUSED.items():
        if config.get(name):
            raise unusable(f"The adapter's config has '{name}': {reason}.")
    _refuse_conversions(config.get("init_lora_weights", True))
    if config.get("bias", "none") != "none":
        raise unusable("The adapter trains biases ('bias'), which are not served. Train it with bias 'none'.")
    for name, value in config.items():
        is_unknown = name not in _REFUSED and name not in _WITHOUT_EFFECT and name != "use_rslora"
        if is_unknown and (name.startswith("use_") or name.endswith("_config")) and value:
            raise unusable(f"The adapter's config has '{shown(name)}', which is not known here. {_AS_PLAIN_LORA}.")
    limits = ("layers_to_transform", "layers_pattern", "exclude_modules")
    return ForeignLora(
        rank=_rank(config.get("r"), "r"),
        alpha=_alpha(config.get("lora_alpha"), "lora_alpha"),
        is_rank_stabilised=bool(config.get("use_rslora")),
        targets=_targets(config.get("target_modules")),
        is_complete=not any(config.get(name) for name in limits),
        ranks={name: _rank(value, "rank_pattern") for name, value in _pattern(config, "rank_pattern")},
        alphas={name: _alpha(value, "alpha_pattern") for name, value in _pattern(config, "alpha_pattern")},
    )


def of_module(module: str, pattern: Mapping[str, Any], otherwise: Any) -> Any:
    """As PEFT looks a module up: the first name that the module's ends with."""
    return next((value for name, value in pattern.items() if ends_with(module, name)), otherwise)


def ends_with(module: str, name: str) -> bool:
    return f".{module}".endswith(f".{name}")


def _refuse_other_methods(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise unusable(f"The adapter's peft_type is '{shown(str(kind))}'; LORA is served. {_AS_PLAIN_LORA}.")
    task = config.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise unusable(
            f"The adapter's task_type is '{shown(str(task))}'; adapters of causal language models are served."
        )


def _refuse_conversions(init: Any) -> None:
    """Of an init that takes something out of the base's weights, the factors alone are not what was trained."""
    if not any(init is known or (isinstance(init, str) and init == known) for known in _INITS):
        raise unusable(
            f"The adapter's init_lora_weights is '{shown(str(init))}', which changes the base model's own weights, so "
            "that on the plain base it is something else. Save it as plain LoRA: save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...) with the adapter as it was before its training."
        )


def _rank(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**16:
        raise unusable(f"The adapter's {name} is not a rank: it must be a whole number from 1 on.")
    return value


def _alpha(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 2**32:
        raise unusable(f"The adapter's {name} is not an alpha: it must be a number above 0.")
    return value


def _targets(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise unusable("The adapter's target_modules are not a list of names.")


def _pattern(config: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Regular expressions, which these may be, are not run here: one can take for ever."""
    pattern = config.get(name) or {}
    if not isinstance(pattern, dict):
        raise unusable(f"The adapter's {name} is not an object of modules and numbers.")
    for key in pattern:
        if not _PLAIN.fullmatch(key):
            raise unusable(f"The adapter's {name} names '{shown(key)}', which is no module. Write its modules out.")
    return list(pattern.items())
