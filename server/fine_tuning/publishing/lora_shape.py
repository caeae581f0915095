"""The shape of an adapter that is published: a plain LoRA, whatever was trained."""

import json
from pathlib import Path
from typing import Any

from inference.adapter_config import CONFIG
from trainer.contract.full_model import WEIGHTS as FULL_WEIGHTS
from trainer.contract.spec import ALL_LINEAR


def read_lora(adapter: Path) -> dict[str, Any]:
    """What a job that goes on from it trains, under the names of `ResolvedHyperparameters`.

    Nothing of a whole model: what is trained of that is all of it, again.
    """
    if (adapter / FULL_WEIGHTS).is_file():
        return {}
    config = json.loads((adapter / CONFIG).read_text())
    targets, alpha = config.get("target_modules"), config["lora_alpha"]
    return {
        "lora_variant": "lora",
        "lora_rank": config["r"],
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_rslora": bool(config.get("use_rslora")),
        "lora_target_modules": tuple(sorted(targets)) if isinstance(targets, list) else ALL_LINEAR,
    }


def find_untrainable(adapter: Path) -> str | None:
    """What of an adapter that was made elsewhere the trainer's own never have; None: training can go on from it."""
    config = json.loads((adapter / CONFIG).read_text())
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return "its layers have different ranks or scalings"
    if config["lora_alpha"] != int(config["lora_alpha"]):
        return f"its alpha is {config['lora_alpha']}, and no whole number"
    targets = config["target_modules"]
    if isinstance(targets, list) and any("." in name for name in targets):
        return "it changes a layer in some blocks of the model and not in others"
    return None
