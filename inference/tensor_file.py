"""The header of a safetensors file, read without any ML library; nothing in it is believed."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

BYTES_PER_NUMBER = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1},
}
_MAX_HEADER_BYTES = 100 * 1024**2  # the safetensors library's own limit


class TensorFileDamaged(Exception):
    """Cut short, or not a safetensors file at all."""


@dataclass(frozen=True)
class Tensor:
    dtype: str  # of `BYTES_PER_NUMBER`
    shape: tuple[int, ...]
    begin: int  # bytes from the file's beginning
    end: int


def read_header(path: Path, *, max_header_bytes: int = _MAX_HEADER_BYTES) -> dict[str, Tensor]:
    """Read every tensor's place: in the order of the file, side by side, and up to its end.

    Raises:
        OSError, TensorFileDamaged
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(size - 8, max_header_bytes):
            raise TensorFileDamaged
        try:
            header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise TensorFileDamaged from error
    if not isinstance(header, dict):
        raise TensorFileDamaged
    header.pop("__metadata__", None)
    tensors = {name: _read_tensor(value, 8 + length) for name, value in header.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_layout(ordered, 8 + length, size)
    return ordered


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two tensors of one name each reader would take another."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TensorFileDamaged
    return found


def _read_tensor(value: Any, data_begin: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise TensorFileDamaged from error
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(map(_is_size, (*shape, begin, end))):
        raise TensorFileDamaged
    return Tensor(dtype, tuple(shape), data_begin + begin, data_begin + end)


def _is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_layout(tensors: Mapping[str, Tensor], position: int, size: int) -> None:
    for tensor in tensors.values():
        expected = math.prod(tensor.shape) * BYTES_PER_NUMBER.get(tensor.dtype, -1)
        if tensor.begin != position or tensor.end - tensor.begin != expected:
            raise TensorFileDamaged
        position = tensor.end
    if position != size or not tensors:
        raise TensorFileDamaged
