"""The contract between training and serving: what is asked of an adapter is held against what an engine will take."""

from collections.abc import Mapping
from typing import Any

from inference.base_shapes import read_base_shapes, stored_in
from server.base_models import BaseModelEntry
from server.errors import InvalidRequest
from server.fine_tuning.adapter_options import asked_adapter
from server.fine_tuning.asked.servable_adapters import Base, Parent, Refusal, Wanted, route_of
from server.record.base_identity import find_directory


def refuse_unservable(wanted: Wanted, place: str) -> None:
    """Raises: InvalidRequest: `place` is where the hyperparameters stand in the request."""
    refusal = route_of(wanted)
    if isinstance(refusal, Refusal):
        param = f"{place}.adapter.{refusal.option}"
        raise InvalidRequest(refusal.message, param=param, code="unsupported_value")


def wanted_of(requested: Mapping[str, Any], base: Base, *, max_rank: int, parent: Parent | None) -> Wanted:
    """`requested` as it lies in a job's row."""
    return Wanted(
        adapter=asked_adapter(requested),
        max_rank=max_rank,
        base=base,
        quantization=requested.get("quantization"),
        parent=parent,
    )


def form_of_files(entry: BaseModelEntry) -> str | None:
    """How the base's own files are quantised; None: they are not, or are not here yet."""
    directory = find_directory(entry)
    return None if directory is None else stored_in(directory)


def look_at(entry: BaseModelEntry) -> Base:
    """Nothing is known of a base that is not here yet: the check of a job's files tells its layers."""
    directory = find_directory(entry)
    if directory is None:
        return Base(served_in=entry.serve_quantized)
    layers: dict[str, int] = {}
    for place, shapes in (read_base_shapes(directory) or {}).items():
        name = place.rpartition(".")[2]
        layers[name] = min(layers.get(name, 2**31), *(side for shape in shapes for side in shape))
    return Base(layers or None, stored_in(directory), entry.serve_quantized)
