"""Adapter directories without weights that mean anything: real files, made with the standard library alone."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from inference.adapter_files import WEIGHTS
from inference.engine import AdapterRef


def write_adapter(
    directory: Path, *, rank: int = 4, config: dict[str, Any] | None = None, second_factor: bytes = b"\x01"
) -> Path:
    """Write one layer's two factors; `second_factor` is the byte that fills `lora_B`."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps({**settings, **(config or {})}))
    a, b = bytes(4 * rank * 8), second_factor * (4 * 8 * rank)
    write_tensors(
        directory / WEIGHTS,
        {
            "base_model.model.layers.0.q_proj.lora_A.weight": ("F32", [rank, 8], a),
            "base_model.model.layers.0.q_proj.lora_B.weight": ("F32", [8, rank], b),
        },
    )
    return directory


def refer_to(directory: Path, name: str, base_model: str, *, rank: int = 4) -> AdapterRef:
    """An adapter as it is published now: with the hash of the weights that lie there, or of none."""
    weights = directory / WEIGHTS
    data = weights.read_bytes() if weights.exists() else b""
    return AdapterRef(name, base_model, directory, rank, hashlib.sha256(data).hexdigest())


def write_tensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    encoded = json.dumps(header).encode()
    payload = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + payload)
