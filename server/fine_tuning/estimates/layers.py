"""The weight matrices of a base model, from its shape (pure)."""

from collections.abc import Collection, Mapping
from typing import Literal

from trainer.contract.shape import ModelShape

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = frozenset({*_ATTENTION, "gate_proj", "up_proj", "down_proj"})


def projections(shape: ModelShape) -> Mapping[str, tuple[int, int]]:
    """Of one layer without experts: each projection's inputs and outputs."""
    hidden, intermediate = shape.hidden, shape.intermediate
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key),
        "v_proj": (hidden, key),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, intermediate),
        "up_proj": (hidden, intermediate),
        "down_proj": (intermediate, hidden),
    }


def adapted_projections(shape: ModelShape, targets: Collection[str]) -> list[tuple[int, int]]:
    """Of one layer: inputs and outputs of those that a LoRA changes; in a mixture of experts its attention's alone."""
    reached = ALL_LINEAR if shape.experts is None else _ATTENTION
    return [sizes for name, sizes in projections(shape).items() if name in reached and name in targets]


def projection_parameters(shape: ModelShape) -> int:
    """What can be quantised: all but the experts, which are stored in one tensor, and the embedding."""
    return sum(inputs * outputs for inputs, outputs in _matrices(shape))


def outputs(shape: ModelShape) -> int:
    """Of all that can be quantised; in 8 bits each has a scale."""
    return sum(outputs for _, outputs in _matrices(shape))


def expert_parameters(shape: ModelShape) -> int:
    """All of them, with what chooses among them."""
    experts = shape.experts
    if experts is None:
        return 0
    return experts.layers * experts.number * shape.hidden * (3 * experts.intermediate + 1)


def active_parameters(shape: ModelShape, parameters: int) -> int:
    """Those of so many that one token is computed with."""
    experts = shape.experts
    if experts is None:
        return parameters
    idle = experts.layers * (experts.number - experts.active) * 3 * experts.intermediate * shape.hidden
    return max(1, parameters - idle)


def _matrices(shape: ModelShape) -> list[tuple[int, int]]:
    """Inputs and outputs of every linear layer of the stack; experts, which are one tensor, are none."""
    experts, sizes = shape.experts, projections(shape)
    attention = [sizes[name] for name in _ATTENTION]
    dense = [size for name, size in sizes.items() if name not in _ATTENTION]
    if experts is None:
        return shape.layers * (attention + dense)
    found = shape.layers * attention + (shape.layers - experts.layers) * dense
    if experts.shared_intermediate:
        into, out = (shape.hidden, experts.shared_intermediate), (experts.shared_intermediate, shape.hidden)
        found += experts.layers * [into, into, out, (shape.hidden, 1)]
    return found


def embedding_parameters(shape: ModelShape) -> int:
    """The embedding and, where it is another matrix, the output head."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def base_parameters(shape: ModelShape) -> int:
    """All of the base model; the two norms of a layer and the last one counted, biases and further norms not."""
    norms = (2 * shape.layers + 1) * shape.hidden
    return projection_parameters(shape) + expert_parameters(shape) + embedding_parameters(shape) + norms


def lora_parameters(
    shape: ModelShape, *, rank: int, targets: Collection[str] = ALL_LINEAR, has_magnitudes: bool = False
) -> int:
    """What a LoRA trains, as PEFT counts it; that of DoRA with a magnitude for each output."""
    adapted = adapted_projections(shape, targets)
    magnitudes = sum(outputs for _, outputs in adapted) if has_magnitudes else 0
    return shape.layers * (rank * sum(map(sum, adapted)) + magnitudes)


def targets_of(asked: Collection[str] | Literal["all-linear"]) -> Collection[str]:
    return ALL_LINEAR if asked == "all-linear" else frozenset(asked)


def adapter_bytes(trainable: int, *, bytes_per_parameter: int) -> int:
    """The adapter's weights, stored in the type they are trained in; the file's header is not counted."""
    return trainable * bytes_per_parameter
