"""An adapter's directory in PEFT's form, as it is served."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from trainer.failures import LossNotFinite
from trainer.plain_lora import PlainLora

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


def write_adapter(directory: Path, config: Any, plain: PlainLora, *, step: int) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; the same adapter gives the same bytes.

    `config` is PEFT's, of the adapter as it was trained.

    Raises:
        LossNotFinite: a number in it is not finite.
    """
    check_finite(plain.tensors, step=step)
    directory.mkdir(exist_ok=True)
    (directory / ADAPTER_WEIGHTS).write_bytes(pack(plain.tensors))
    (directory / ADAPTER_CONFIG).write_text(json.dumps(_config_of(config, plain), indent=2) + "\n")


def check_finite(tensors: Mapping[str, Tensor], *, step: int) -> None:
    """Raises: LossNotFinite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise LossNotFinite("trained weights", step)


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    packed: bytes = save(dict(tensors), metadata={"format": "pt"})
    return packed


def _config_of(config: Any, plain: PlainLora) -> dict[str, Any]:
    """PEFT's own, without the place of the base model on this machine, and with sets in a fixed order."""
    values = config.to_dict()
    values.update(base_model_name_or_path=None, inference_mode=True)
    values.update(use_dora=False, r=plain.rank, lora_alpha=plain.alpha, use_rslora=plain.rslora)
    return {key: sorted(value) if isinstance(value, set) else _plain(value) for key, value in sorted(values.items())}


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # enumerations
