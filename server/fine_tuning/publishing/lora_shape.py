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
    targets = config.get("target_modules")
    return {
        "lora_variant": "lora",
        "lora_rank": config["r"],
        "lora_alpha": config["lora_alpha"],
        "lora_rslora": bool(config.get("use_rslora")),
        "lora_target_modules": tuple(sorted(targets)) if isinstance(targets, list) else ALL_LINEAR,
    }
