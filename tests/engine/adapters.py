"""Adapters and base models made on the fly: random, but strong enough to change what a model says."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

RANK = 8


def make_adapter(base: Path, directory: Path, *, seed: int, strength: float = 0.2) -> Path:
    """Write an adapter on all linear layers with normally distributed weights of standard deviation `strength`."""
    torch.manual_seed(seed)
    model = get_peft_model(load_base(base), LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=strength)
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    return directory


def load_base(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def read_config(directory: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((directory / "adapter_config.json").read_text())
    return config
