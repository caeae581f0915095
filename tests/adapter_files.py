"""Adapter directories without weights that mean anything: real files, made with the standard library alone."""

import json
import struct
from pathlib import Path
from typing import Any


def write_adapter(
    directory: Path, *, rank: int = 4, config: dict[str, Any] | None = None, second_factor: bytes = b"\x01"
) -> Path:
    """Write one layer's two factors; `second_factor` is the byte that fills `lora_B`."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "use_dora": False}
    (directory / "adapter_config.json").write_text(json.dumps({**settings, **(config or {})}))
    a, b = bytes(4 * rank * 8), second_factor * (4 * 8 * rank)
    write_tensors(
        directory / "adapter_model.safetensors",
        {
            "base_model.model.layers.0.q_proj.lora_A.weight": ("F32", [rank, 8], a),
            "base_model.model.layers.0.q_proj.lora_B.weight": ("F32", [8, rank], b),
        },
    )
    return directory


def write_tensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    encoded = json.dumps(header).encode()
    payload = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + payload)
