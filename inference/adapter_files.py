"""What an adapter's directory must hold before an engine is asked to load it; read without any ML library."""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inference.engine import AdapterRejected

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_MAX_HEADER_BYTES = 100 * 1024**2  # the safetensors library's own limit
_BYTES_PER_NUMBER = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# What the byte with the sign and the top of the exponent may be, in a number below 2¹⁵ (below infinity in F16).
_TOP_BYTES = {
    "F64": bytes(b for b in range(256) if b & 0x7F < 0x41),
    "F32": bytes(b for b in range(256) if b & 0x7F < 0x47),
    "BF16": bytes(b for b in range(256) if b & 0x7F < 0x47),
    "F16": bytes(b for b in range(256) if b & 0x7C < 0x7C),
}
_NOT_SERVABLE = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)


def check_adapter(directory: Path, max_rank: int) -> None:
    """Look at everything that can be known without loading.

    Raises:
        AdapterRejected: a file is missing, cut short or damaged, or no engine of ours serves such an adapter.
    """
    _check_config(_read_config(directory / CONFIG), max_rank)
    _check_tensors(read_header(directory / WEIGHTS), max_rank)


def check_numbers(directory: Path) -> None:
    """Look at every number: one that is infinite or none poisons the answers of *other* models in an engine's batch.

    Takes about 0.1 s for 100 MB.

    Raises:
        AdapterRejected: a number is not finite, or so large (2¹⁵) that it soon would be.
    """
    for _, dtype, data in _read_tensors(directory / WEIGHTS):
        top_bytes = data[_BYTES_PER_NUMBER[dtype] - 1 :: _BYTES_PER_NUMBER[dtype]]
        if top_bytes.translate(None, delete=_TOP_BYTES[dtype]):
            raise AdapterRejected("the adapter holds numbers that are not finite, or far too large for weights")


def has_weights_of_note(directory: Path) -> bool:
    """Whether some tensor of the adapter's second factors (`lora_B`) holds a byte that is not zero.

    An adapter of which this is false changes nothing: training left it where it began.

    Raises:
        AdapterRejected: the file cannot be read.
    """
    return any(any(data) for name, _, data in _read_tensors(directory / WEIGHTS) if _factor(name) == "B")


def read_header(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the header of a safetensors file: name → dtype, shape, data_offsets; sizes agree with the file's length.

    Raises:
        AdapterRejected: not there, or not such a file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if length > min(size - 8, _MAX_HEADER_BYTES):
                raise _damaged()
            header = json.loads(file.read(length))
    except OSError as error:
        raise AdapterRejected(f"the adapter's {path.name} is missing or cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise _damaged() from error
    if not isinstance(header, dict):
        raise _damaged()
    header.pop("__metadata__", None)
    _check_layout(header, size - 8 - length)
    return header


def _read_tensors(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Give name, number format and little-endian bytes of each tensor."""
    header = read_header(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            for name, tensor in header.items():
                begin, end = tensor["data_offsets"]
                file.seek(8 + length + begin)
                yield name, tensor["dtype"], file.read(end - begin)
    except OSError as error:
        raise AdapterRejected(f"the adapter's {path.name} cannot be read") from error


def _check_layout(header: Mapping[str, Any], data_bytes: int) -> None:
    position = 0
    for tensor in sorted(header.values(), key=_offset):
        try:
            begin, end = tensor["data_offsets"]
            expected = math.prod(tensor["shape"]) * _BYTES_PER_NUMBER[tensor["dtype"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged() from error
        if begin != position or end - begin != expected:
            raise _damaged()
        position = end
    if position != data_bytes or not header:
        raise _damaged()


def _offset(tensor: Any) -> int:
    try:
        return int(tensor["data_offsets"][0])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged() from error


def _check_tensors(header: Mapping[str, Mapping[str, Any]], max_rank: int) -> None:
    for name, tensor in header.items():
        factor, shape = _factor(name), tensor["shape"]
        if factor is None or len(shape) != 2:
            raise AdapterRejected(f"the adapter's {WEIGHTS} holds tensors that are not LoRA's")
        if shape[0 if factor == "A" else 1] > max_rank:
            raise AdapterRejected(f"the adapter's rank is above {max_rank}, the largest this engine serves")
        other = name.replace(f"lora_{factor}", "lora_B" if factor == "A" else "lora_A")
        if other not in header:
            raise _damaged()


def _factor(name: str) -> str | None:
    if ".lora_A." in name:
        return "A"
    return "B" if ".lora_B." in name else None


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise AdapterRejected(f"the adapter's {CONFIG} is missing or cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise AdapterRejected(f"the adapter's {CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise AdapterRejected(f"the adapter's {CONFIG} is not a JSON object")
    return config


def _check_config(config: Mapping[str, Any], max_rank: int) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterRejected("the adapter is not a LoRA adapter")
    rank = config.get("r")
    if not isinstance(rank, int) or not 1 <= rank <= max_rank:
        raise AdapterRejected(f"the adapter's rank is not between 1 and {max_rank}")
    if config.get("bias", "none") != "none":
        raise AdapterRejected("the adapter trains biases, which the engine does not serve")
    for key in _NOT_SERVABLE:
        if config.get(key):
            raise AdapterRejected(f"the adapter uses {key}, which the engine does not serve")


def _damaged() -> AdapterRejected:
    return AdapterRejected(f"the adapter's {WEIGHTS} is damaged or cut short")
