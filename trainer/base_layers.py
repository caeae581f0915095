"""The names and sizes of a base model's linear layers, from the headers of its weights alone: no torch."""

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trainer.contract.spec import BaseModelSource
from trainer.environment import is_local

_FLOATS = ("F64", "F32", "F16", "BF16")


def read_base_layers(source: BaseModelSource) -> dict[str, int] | None:
    """The smaller side of the smallest layer of each name; None if they are not known, or packed."""
    try:
        tensors = _read_local(Path(source.source)) if is_local(source) else _ask_the_hub(source)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return layers_of(tensors) or None


def layers_of(tensors: Iterable[tuple[str, str, Sequence[int]]]) -> dict[str, int]:
    """Of name, format and shape of each tensor: the matrices inside the stack of layers."""
    found: dict[str, int] = {}
    for name, dtype, shape in tensors:
        if f".{name}".find(".layers.") >= 0 and name.endswith(".weight") and len(shape) == 2 and dtype in _FLOATS:
            layer = name.removesuffix(".weight").rpartition(".")[2]
            found[layer] = min(found.get(layer, shape[0]), *shape)
    return found


def _read_local(directory: Path) -> list[tuple[str, str, Sequence[int]]]:
    found = []
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        found += [(name, tensor["dtype"], tensor["shape"]) for name, tensor in header.items()]
    return found


def _ask_the_hub(source: BaseModelSource) -> list[tuple[str, str, Sequence[int]]]:
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, OfflineModeIsEnabled

    try:
        files = get_safetensors_metadata(source.source, revision=source.revision).files_metadata.values()
    except (HfHubHTTPError, NotASafetensorsRepoError, OfflineModeIsEnabled):
        return []
    return [(name, tensor.dtype, tensor.shape) for file in files for name, tensor in file.tensors.items()]
