"""Reads what the library of Weights & Biases has logged to a file, in place of its service."""

from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK_BYTES = 32768  # LevelDB's log format, which the library writes
_HEADER_BYTES = 7
_FIRST, _LAST, _WHOLE = 2, 4, 1


def read_records(directory: Path) -> list[Record]:
    """The records of the one offline run under a directory."""
    (path,) = directory.rglob("*.wandb")
    records = []
    for data in _chunks(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        records.append(record)
    return records


def history(records: list[Record]) -> list[dict[str, str]]:
    """What was logged at each step; values as they were written."""
    return [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


def _chunks(data: bytes) -> Iterator[bytes]:
    position, held = _HEADER_BYTES, b""  # the file begins with a header of the same length
    while position + _HEADER_BYTES <= len(data):
        left_in_block = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left_in_block < _HEADER_BYTES:
            position += left_in_block
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        chunk = data[position + _HEADER_BYTES : position + _HEADER_BYTES + length]
        position += _HEADER_BYTES + length
        held = chunk if kind in (_WHOLE, _FIRST) else held + chunk
        if kind in (_WHOLE, _LAST):
            yield held
