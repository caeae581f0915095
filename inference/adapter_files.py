"""What an adapter's directory must hold before an engine is asked to load it; read without any ML library."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.adapter_config import CONFIG, check_config, check_scaling, is_target, rank_of, read_config
from inference.base_shapes import BaseShapes, place_of
from inference.engine import AdapterRejected
from inference.rejections import FileStates
from inference.tensor_file import BYTES_PER_NUMBER, Tensor, TensorFileDamaged, read_header

WEIGHTS = "adapter_model.safetensors"

_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
_OUTSIDE = ("embed_tokens", "lm_head")  # no engine of ours applies an adapter to them
# What the byte with the sign and the top of the exponent may be, in a number below 2¹⁵ (below infinity in F16).
_TOP_BYTES = {
    "F64": bytes(b for b in range(256) if b & 0x7F < 0x41),
    "F32": bytes(b for b in range(256) if b & 0x7F < 0x47),
    "BF16": bytes(b for b in range(256) if b & 0x7F < 0x47),
    "F16": bytes(b for b in range(256) if b & 0x7C < 0x7C),
}


@dataclass
class _Factors:
    """Of one module: A is (rank, inputs), B is (outputs, rank)."""

    a: tuple[int, ...] | None = None
    b: tuple[int, ...] | None = None


def check_adapter(directory: Path, max_rank: int, base: BaseShapes | None = None) -> None:
    """Look at everything that can be known from the config and the header of the weights.

    Raises:
        AdapterRejected: a file is missing, cut short or damaged, does not fit the base model (None: its sizes are not
            known), or no engine of ours serves such an adapter.
    """
    config = read_config(directory)
    check_config(config, max_rank)
    for module, factors in _read_factors(directory).items():
        _check_module(module, factors, config)
        if base is not None:
            _check_fits(module, factors, base)


def check_weights(directory: Path, sha256: str) -> None:
    """Read all of the weights, once: they are the published ones, and every number is finite.

    One that is infinite or none poisons the answers of *other* models in an engine's batch.
    Takes about 0.2 s for 100 MB.

    Raises:
        AdapterRejected: they are others, or a number is not finite, or so large (2¹⁵) that it soon would be.
    """
    digest, is_sound = hashlib.sha256(), True
    for _, dtype, data in _read_data(directory):
        digest.update(data)
        if dtype is not None:
            top_bytes = data[BYTES_PER_NUMBER[dtype] - 1 :: BYTES_PER_NUMBER[dtype]]
            is_sound &= not top_bytes.translate(None, delete=_TOP_BYTES[dtype])
    if digest.hexdigest() != sha256:
        raise AdapterRejected(f"the adapter's {WEIGHTS} is not the one that was published")
    if not is_sound:
        raise AdapterRejected("the adapter holds numbers that are not finite, or far too large for weights")


def has_weights_of_note(directory: Path) -> bool:
    """Whether some tensor of the adapter's second factors (`lora_B`) holds a byte that is not zero.

    An adapter of which this is false changes nothing: training left it where it began.

    Raises:
        AdapterRejected: the file cannot be read.
    """
    return any(any(data) for name, _, data in _read_data(directory) if ".lora_B." in name)


def file_states(directory: Path) -> FileStates:
    """Tell one state of the adapter's files from the next, without reading them."""
    try:
        states = [(path.name, path.stat()) for path in sorted(directory.iterdir())]
    except OSError:
        return ()
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)


def _read_factors(directory: Path) -> dict[str, _Factors]:
    modules: dict[str, _Factors] = {}
    for name, tensor in _header(directory).items():
        found = _NAME.fullmatch(name)
        if found is None or len(tensor.shape) != 2 or tensor.dtype not in _TOP_BYTES:
            raise AdapterRejected(f"the adapter's {WEIGHTS} holds tensors that are not LoRA's")
        factors = modules.setdefault(found["module"], _Factors())
        if found["factor"] == "A":
            factors.a = tensor.shape
        else:
            factors.b = tensor.shape
    return modules


def _check_module(module: str, factors: _Factors, config: Mapping[str, Any]) -> None:
    if factors.a is None or factors.b is None:
        raise AdapterRejected(f"the adapter's {WEIGHTS} holds one factor of a module without the other")
    rank = rank_of(module, config)
    if (factors.a[0], factors.b[1]) != (rank, rank):
        raise AdapterRejected(f"the adapter's tensors are not of the rank that its {CONFIG} says")
    check_scaling(module, config)
    if not is_target(module, config):
        raise AdapterRejected(f"the adapter changes modules that its {CONFIG} does not name")
    if module.rpartition(".")[2] in _OUTSIDE:
        raise AdapterRejected("the adapter changes the first or the last layer, which the engine does not serve")


def _check_fits(module: str, factors: _Factors, base: BaseShapes) -> None:
    shapes = base.get(place_of(module) or "")
    if shapes is None:
        raise AdapterRejected("the adapter changes modules that the base model does not have")
    if factors.a is None or factors.b is None or (factors.b[0], factors.a[1]) not in shapes:
        raise AdapterRejected("the adapter's tensors are not of the base model's sizes")


def _read_data(directory: Path) -> Iterator[tuple[str, str | None, bytes]]:
    """Give all bytes of the weights in their order: what stands before the tensors, then each one's, little-endian.

    With each its name and format; those before have none.
    """
    tensors = _header(directory)
    try:
        with (directory / WEIGHTS).open("rb") as file:
            yield "", None, file.read(min(tensor.begin for tensor in tensors.values()))
            for name, tensor in tensors.items():
                yield name, tensor.dtype, file.read(tensor.end - tensor.begin)
    except OSError as error:
        raise AdapterRejected(f"the adapter's {WEIGHTS} cannot be read") from error


def _header(directory: Path) -> Mapping[str, Tensor]:
    try:
        return read_header(directory / WEIGHTS)
    except OSError as error:
        raise AdapterRejected(f"the adapter's {WEIGHTS} is missing or cannot be read") from error
    except TensorFileDamaged as error:
        raise AdapterRejected(f"the adapter's {WEIGHTS} is damaged or cut short") from error
