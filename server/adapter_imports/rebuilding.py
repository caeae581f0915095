"""An adapter of our own, made of one that was made elsewhere: nothing is copied but the numbers.

The config is written anew from what was understood of the old one, and the weights behind a header of ours.
"""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.adapter_config import CONFIG, read_config
from inference.adapter_files import WEIGHTS, check_adapter, check_weights, has_weights_of_note
from inference.base_shapes import BaseShapes, place_of
from inference.engine import AdapterRejected
from inference.tensor_file import Tensor
from server.adapter_imports.foreign_config import ForeignLora, read_foreign_config
from server.adapter_imports.foreign_weights import Factors, find_factors, read_tensors
from server.adapter_imports.unusable import unusable
from server.record.hashes import sha256

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Rebuilt:
    rank: int  # the largest of a module
    sha256: str  # of the weights


def rebuild(source: Path, destination: Path, base: BaseShapes, *, max_rank: int) -> Rebuilt:
    """Fill an empty directory with an adapter that an engine can be asked for.

    Raises:
        InvalidRequest: no engine here would serve it; the message says why and what to do.
    """
    try:
        lora = read_foreign_config(read_config(source))
        tensors = read_tensors(source / WEIGHTS)
        factors = find_factors(tensors, lora, base, max_rank=max_rank)
        config = build_config(lora, factors, base)
        (destination / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        _write_weights(source / WEIGHTS, tensors, destination / WEIGHTS)
        digest = sha256(destination / WEIGHTS)
        check_adapter(destination, max_rank, base)
        check_weights(destination, digest)
        if not has_weights_of_note(destination):
            raise unusable("All of the adapter's second factors (lora_B) are zero: it was never trained.")
    except AdapterRejected as error:
        raise unusable(f"The adapter cannot be served: {error}.") from error
    return Rebuilt(config["r"], digest)


def build_config(lora: ForeignLora, factors: Mapping[str, Factors], base: BaseShapes) -> dict[str, Any]:
    """Every field that is written, and no other (pure)."""
    rank = max(of_module.rank for of_module in factors.values())
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "use_rslora": lora.is_rank_stabilised,
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": _targets(factors, base),
        "rank_pattern": {name: of_module.rank for name, of_module in factors.items() if of_module.rank != rank},
        "alpha_pattern": {
            name: of_module.alpha for name, of_module in factors.items() if of_module.alpha != lora.alpha
        },
    }


def _targets(factors: Mapping[str, Factors], base: BaseShapes) -> list[str]:
    """The last words of the modules' names, where those name no others; else the modules' whole names."""
    ours = Counter(_last(module) for module in factors)
    of_base = Counter(_last(place) for place in base)
    if len({place_of(module) for module in factors}) == len(factors) and all(
        ours[name] == of_base[name] for name in ours
    ):
        return sorted(ours)
    return sorted(factors)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _write_weights(source: Path, tensors: Mapping[str, Tensor], destination: Path) -> None:
    """The same numbers in the same order; what else the old header said is gone."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = min(tensor.begin for tensor in tensors.values())
    for name, tensor in tensors.items():
        offsets = [tensor.begin - begin, tensor.end - begin]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the numbers are aligned
    with source.open("rb") as old, destination.open("xb") as new:
        new.write(struct.pack("<Q", len(encoded)) + encoded)
        old.seek(begin)
        while chunk := old.read(_CHUNK_BYTES):
            new.write(chunk)
