"""The weight matrices of a base model, from its shape (pure)."""

from collections.abc import Collection, Mapping
from typing import Literal

from trainer.contract.shape import ModelShape

ALL_LINEAR = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


def projections(shape: ModelShape) -> Mapping[str, tuple[int, int]]:
    """Of one layer: each projection's inputs and outputs."""
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


def projection_parameters(shape: ModelShape) -> int:
    return shape.layers * sum(inputs * outputs for inputs, outputs in projections(shape).values())


def outputs(shape: ModelShape) -> int:
    """Of all projections; in 8 bits each has a scale."""
    return shape.layers * sum(outputs for _, outputs in projections(shape).values())


def embedding_parameters(shape: ModelShape) -> int:
    """The embedding and, where it is another matrix, the output head."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def base_parameters(shape: ModelShape) -> int:
    """All of the base model; the two norms of a layer and the last one counted, biases and further norms not."""
    return projection_parameters(shape) + embedding_parameters(shape) + (2 * shape.layers + 1) * shape.hidden


def lora_parameters(
    shape: ModelShape, *, rank: int, targets: Collection[str] = ALL_LINEAR, has_magnitudes: bool = False
) -> int:
    """What a LoRA trains, as PEFT counts it; that of DoRA with a magnitude for each output."""
    adapted = [sizes for name, sizes in projections(shape).items() if name in targets]
    magnitudes = sum(outputs for _, outputs in adapted) if has_magnitudes else 0
    return shape.layers * (rank * sum(map(sum, adapted)) + magnitudes)


def targets_of(asked: Collection[str] | Literal["all-linear"]) -> Collection[str]:
    return ALL_LINEAR if asked == "all-linear" else frozenset(asked)


def adapter_bytes(trainable: int, *, bytes_per_parameter: int) -> int:
    """The adapter's weights, stored in the type they are trained in; the file's header is not counted."""
    return trainable * bytes_per_parameter
