"""The tensors of an adapter made elsewhere, held against its config and against the base model (pure, but for reading).

What they are named and how large they are is all that is looked at here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.base_shapes import BaseShapes, place_of
from inference.tensor_file import Tensor, TensorFileDamaged, read_header
from server.adapter_imports.foreign_config import ForeignLora, ends_with, of_module
from server.adapter_imports.unusable import shown, unusable

_MAX_HEADER_BYTES = 16 * 1024**2  # thirty times what the largest dense models' adapters have
_NAME = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<factor>[AB])\.weight", re.ASCII)
_FORMATS = ("F32", "F16", "BF16")
_FOREIGN = {  # what a tensor's name holds: of what it is
    "lora_magnitude_vector": "DoRA's magnitude ('use_dora')",
    "lora_embedding_": "an embedding, which no engine here changes",
    "modules_to_save": "a whole module ('modules_to_save')",
    "base_layer": "the base model's own",
    ".bias": "a bias",
    "trainable_tokens": "trained tokens ('trainable_token_indices')",
}


@dataclass(frozen=True)
class Factors:
    """Of one module."""

    rank: int
    alpha: float


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """In the order of the file. Raises: InvalidRequest."""
    try:
        return read_header(path, max_header_bytes=_MAX_HEADER_BYTES)
    except TensorFileDamaged as error:
        raise unusable(
            f"{path.name} is damaged, cut short or no safetensors file. Save the adapter again and send it whole."
        ) from error


def find_factors(
    tensors: Mapping[str, Tensor], lora: ForeignLora, base: BaseShapes, *, max_rank: int
) -> dict[str, Factors]:
    """Give the modules that the adapter changes, in the order of the file.

    Raises:
        InvalidRequest: a tensor is not a LoRA's, or not of this config's or this base model's.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        module, factor = _take_apart(name, tensor)
        found.setdefault(module, {})[factor] = tensor.shape
    factors = {module: _check(module, shapes, lora, base, max_rank) for module, shapes in found.items()}
    _check_complete(factors, lora, base)
    return factors


def _take_apart(name: str, tensor: Tensor) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        what = next(
            (what for part, what in _FOREIGN.items() if part in name), "not a factor of a LoRA as PEFT saves it"
        )
        raise unusable(f"The tensor '{shown(name)}' is {what}. Save the adapter without it.")
    if len(tensor.shape) != 2:
        raise unusable(f"The tensor '{shown(name)}' has {len(tensor.shape)} dimensions; a linear layer's factor has 2.")
    if tensor.dtype not in _FORMATS:
        raise unusable(
            f"The tensor '{shown(name)}' is of the format {tensor.dtype}. Save the adapter as {', '.join(_FORMATS)}."
        )
    return found["module"], found["factor"]


def _check(
    module: str, shapes: Mapping[str, tuple[int, ...]], lora: ForeignLora, base: BaseShapes, max_rank: int
) -> Factors:
    if len(shapes) < 2:
        raise unusable(
            f"Of the module '{shown(module)}' there is one factor without the other. Send the adapter whole."
        )
    rank, alpha = int(of_module(module, lora.ranks, lora.rank)), float(of_module(module, lora.alphas, lora.alpha))
    (rank_a, n_in), (n_out, rank_b) = shapes["A"], shapes["B"]
    if (rank_a, rank_b) != (rank, rank):
        raise unusable(
            f"The factors of the module '{shown(module)}' have the rank {rank_a}, and the config says {rank}."
        )
    if rank > max_rank:
        raise unusable(
            f"The adapter has the rank {rank}, and this server serves up to {max_rank} (TUNESMITH_MAX_LORA_RANK)."
        )
    if lora.targets is not None and not any(ends_with(module, target) for target in lora.targets):
        raise unusable(f"There are weights for the module '{shown(module)}', which target_modules do not name.")
    sizes = base.get(place_of(module) or "")
    if sizes is None:
        raise unusable(f"The base model has no linear layer '{shown(module)}' that an engine here changes.")
    if (n_out, n_in) not in sizes:
        expected = " or ".join(f"{size[1]} to {size[0]}" for size in sorted(sizes))
        raise unusable(
            f"The module '{shown(module)}' goes from {n_in} to {n_out} numbers, and the base model's from {expected}. "
            "Import the adapter for the base model that it was trained on."
        )
    return Factors(rank, alpha)


def _check_complete(factors: Mapping[str, Factors], lora: ForeignLora, base: BaseShapes) -> None:
    """Every layer that the config names has its factors; of experts, models and their files have different names."""
    if lora.targets is None or not lora.is_complete:
        return
    present = {place_of(module) for module in factors}
    for place in base:
        is_named = any(ends_with(place, target) for target in lora.targets)
        if is_named and place not in present and ".experts." not in place:
            raise unusable(f"There are no weights for '{place}', which target_modules name. Send the adapter whole.")
