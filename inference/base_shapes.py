"""What a base model's own files say of it: how they are quantised, and its layers' sizes, which adapters must fit."""

import json
from collections.abc import Mapping
from pathlib import Path

from inference.tensor_file import TensorFileDamaged, read_header

# (outputs, inputs) by the layer's place; a model of several towers may have several layers at one place.
BaseShapes = Mapping[str, frozenset[tuple[int, int]]]
_FLOATS = ("F64", "F32", "F16", "BF16")


def place_of(module: str) -> str | None:
    """Say where in the stack a module is: "layers.0.self_attn.q_proj". None for one outside it.

    What stands before differs: files, trainer and engine each wrap a model in names of their own.
    """
    start = f".{module}".find(".layers.")
    return module[start:] if start >= 0 else None


def stored_in(directory: Path) -> str | None:
    """How the files are quantised: "bitsandbytes", "gptq"; None: they are not."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
        quantised = config.get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return None
    if not quantised:
        return None
    return str(quantised.get("quant_method", "an unknown form")) if isinstance(quantised, dict) else "an unknown form"


def read_base_shapes(directory: Path) -> BaseShapes | None:
    """None if they are not known: there are no such files, or their numbers are packed."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
        headers = [read_header(path) for path in sorted(directory.glob("*.safetensors"))]
    except (OSError, ValueError, TensorFileDamaged):
        return None
    if not isinstance(config, dict) or config.get("quantization_config"):
        return None
    found: dict[str, set[tuple[int, int]]] = {}
    for name, tensor in (item for header in headers for item in header.items()):
        place = place_of(name.removesuffix(".weight"))
        if place is not None and name.endswith(".weight") and len(tensor.shape) == 2 and tensor.dtype in _FLOATS:
            found.setdefault(place, set()).add((tensor.shape[0], tensor.shape[1]))
    return {place: frozenset(shapes) for place, shapes in found.items()} or None
