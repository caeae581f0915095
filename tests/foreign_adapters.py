"""Adapters as others make them, for a base model of two small layers: real files, without any ML library."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.base_shapes import BaseShapes, read_base_shapes

DEMO = Path(__file__).parents[1] / "examples/demo_model"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LAYERS = ("layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj")
BASE: BaseShapes = {layer: frozenset({(12, 8)}) for layer in LAYERS} | {
    layer.replace("q_proj", "o_proj"): frozenset({(8, 12)}) for layer in LAYERS
}
RANK = 4
Tensors = dict[str, tuple[str, list[int], bytes]]


def config_of(**changes: Any) -> dict[str, Any]:
    """As PEFT writes it, with what is to be dropped."""
    return {
        "alora_invocation_tokens": None,
        "alpha_pattern": {},
        "auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "os"},
        "base_model_name_or_path": "/srv/somebody/models/base",
        "bias": "none",
        "init_lora_weights": True,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": RANK,
        "rank_pattern": {},
        "revision": "main",
        "runtime_config": {"ephemeral_gpu_offload": True},
        "something_new": "/etc/passwd",
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    } | changes


def name_of(layer: str, factor: str) -> str:
    return f"base_model.model.model.{layer}.lora_{factor}.weight"


def tensors_of(
    *, rank: int = RANK, dtype: str = "F32", fill: bytes = b"\x3c", layers: tuple[str, ...] = LAYERS
) -> Tensors:
    width = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I32": 4}[dtype]
    found: Tensors = {}
    for layer in layers:
        found[name_of(layer, "A")] = (dtype, [rank, 8], fill * (rank * 8 * width))
        found[name_of(layer, "B")] = (dtype, [12, rank], fill * (rank * 12 * width))
    return found


def weights(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(data for _, _, data in tensors.values())


def write_foreign(directory: Path, tensors: Tensors | bytes | None = None, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG).write_text(json.dumps(config_of(**config)))
    data = tensors if isinstance(tensors, bytes) else weights(tensors or tensors_of())
    (directory / WEIGHTS).write_bytes(data)
    return directory


def files_of(**config: Any) -> dict[str, bytes]:
    return {CONFIG: json.dumps(config_of(**config)).encode(), WEIGHTS: weights(tensors_of())}


def tar_of(files: Mapping[str, bytes], *others: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    """`others` are members without content."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for other in others:
            tar.addfile(other)
    return archive.getvalue()


def zip_of(files: Mapping[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return archive.getvalue()


def demo_files() -> dict[str, bytes]:
    """A small adapter that fits the demo base model."""
    shapes = read_base_shapes(DEMO) or {}
    tensors: Tensors = {}
    for place in sorted(place for place in shapes if place.endswith("q_proj")):
        ((n_out, n_in),) = shapes[place]
        tensors[name_of(place, "A")] = ("F16", [1, n_in], b"\x3c" * (2 * n_in))
        tensors[name_of(place, "B")] = ("F16", [n_out, 1], b"\x3c" * (2 * n_out))
    return {CONFIG: json.dumps(config_of(r=1)).encode(), WEIGHTS: weights(tensors)}
