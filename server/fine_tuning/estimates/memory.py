"""The peak of memory of a run, by part (pure).

Weights, gradients and moments are counted; what is kept for the backward pass follows from the shape. On the CPU the
sum is the peak of live tensor bytes, within a tenth of what is measured (benchmarks/memory.py).
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Literal

from server.fine_tuning.estimates.layers import (
    ALL_LINEAR,
    adapted_projections,
    base_parameters,
    embedding_parameters,
    lora_parameters,
    outputs,
    projection_parameters,
)
from trainer.contract.shape import ModelShape
from trainer.contract.spec import MemoryPlan, Optimizer

Device = Literal["cpu", "cuda"]
Trains = Literal["lora", "full"]

NF4_BITS = 4.127  # a weight's 4, and with double quantisation 0.127 for the scales: 8 bits for 64 of them
_MOMENTS_8BIT = 2 + 2 * 4 / 256  # a byte each, and a float32 scale for every 256
# of the two moments of a parameter; what is paged is counted, as it is on the device while it is used
_MOMENTS_BYTES: dict[Optimizer, float] = {
    "adamw": 8,
    "adamw_8bit": _MOMENTS_8BIT,
    "paged_adamw_8bit": _MOMENTS_8BIT,
    "paged_adamw_32bit": 8,
}
_MIXED = 1.19  # of bfloat16 activations: the norms keep float32 copies
_CUDA_CONTEXT_BYTES = 1_000_000_000
_FUSED_TOKENS, _FUSED_VOCABULARY = 4096, 32768  # of logits that the fused head holds at once
_FUSED_COPIES = 6  # of them where there is no Triton: what torch makes on the way to their gradient
_PROCESS_BYTES = 700_000_000  # of main memory: the interpreter with torch, transformers and TRL
_CPU_MARGIN = 2.0  # over live tensors: glibc keeps freed memory in pieces


@dataclass(frozen=True)
class Load:
    """What a run puts on a device."""

    shape: ModelShape
    plan: MemoryPlan
    device: Device
    micro_batch_tokens: int  # of the largest one, padding included
    labelled_tokens: int  # of those, inside the loss mask
    rank: int = 16
    trains: Trains = "lora"
    has_dropout: bool = False  # before the LoRA
    is_fused: bool = False  # whether the output head is TRL's on a CPU, too
    parameters: int | None = None  # of the base model, where they were counted
    optimizer: Optimizer = "adamw"
    keeps_best: bool = False  # a copy of what was trained, as it was best, in main memory
    targets: Collection[str] = ALL_LINEAR
    is_dora: bool = False
    bfloat16: bool = True  # whether a GPU has it; an older one computes in float32


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak. `needed` is what has to be free before a run is let in."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    reserve: int  # of the device itself
    needed: int = 0

    @property
    def peak(self) -> int:
        return sum(value for name, value in asdict(self).items() if name != "needed")


def estimate_memory(load: Load) -> Memory:
    """Add up what a run holds at its peak."""
    width = number_bytes(load.device, bfloat16=load.bfloat16)
    trainable = trainable_parameters(load)
    head = _head(load, width)
    if load.plan.gradient_checkpointing and load.device == "cpu":
        head = _beyond_a_layer(load, head)
    memory = Memory(
        weights=_weights(load, width),
        adapter=trainable * _adapter_width(width) if load.trains == "lora" else 0,
        gradients=trainable * (width if load.trains == "lora" else 4),
        optimizer=round(trainable * _MOMENTS_BYTES[load.optimizer]),
        activations=_activations(load, width),
        head=head,
        reserve=_CUDA_CONTEXT_BYTES if load.device == "cuda" else 0,
    )
    return replace(memory, needed=_needed(memory, load))


def trainable_parameters(load: Load) -> int:
    if load.trains == "lora":
        return lora_parameters(load.shape, rank=load.rank, targets=load.targets, has_magnitudes=load.is_dora)
    return load.parameters or base_parameters(load.shape)


def resting_bytes_of_full(
    parameters: int, device: Device, optimizer: Optimizer = "adamw", *, bfloat16: bool = True
) -> int:
    """What training all weights holds before the first example: they, their gradients and their moments."""
    return round(parameters * (_full_width(device, bfloat16=bfloat16) + 4 + _MOMENTS_BYTES[optimizer]))


def _adapter_width(width: int) -> int:
    """Bytes of a weight of an adapter: in 16 bits with the copy in 32 that the optimizer steps."""
    return width if width == 4 else width + 4


def _full_width(device: Device, *, bfloat16: bool) -> int:
    """Bytes a weight that is itself trained: float32 everywhere, and on a GPU its copy that is computed with."""
    return 6 if device == "cuda" and bfloat16 else 4


def number_bytes(device: Device, *, bfloat16: bool) -> int:
    """Of one number in the type that trainers compute in: bfloat16 on a GPU that has it, else float32."""
    return 2 if device == "cuda" and bfloat16 else 4


def _weights(load: Load, width: int) -> int:
    parameters = load.parameters or base_parameters(load.shape)
    if load.trains == "full":
        return parameters * _full_width(load.device, bfloat16=load.bfloat16)
    if load.plan.quantization is None:
        return parameters * width
    packed = projection_parameters(load.shape)
    packed_bytes = packed * NF4_BITS / 8 if load.plan.quantization == "nf4" else packed + 4 * outputs(load.shape)
    return round(packed_bytes) + max(parameters - packed, embedding_parameters(load.shape)) * width


def _activations(load: Load, width: int) -> int:
    """Kept for the backward pass: of every layer, or only each layer's input and one layer while it is redone."""
    layers = _layers(load, width)
    beside = _whole_weights(load, width) if load.is_dora else 0
    if load.plan.gradient_checkpointing:
        return load.micro_batch_tokens * load.shape.layers * load.shape.hidden * width + max(layers) + beside
    return sum(layers) + beside


def _whole_weights(load: Load, width: int) -> int:
    """DoRA forms a layer's changed weight to measure it, from a unit matrix of its inputs."""
    sizes = adapted_projections(load.shape, load.targets)
    return max((inputs * inputs + 3 * inputs * outputs for inputs, outputs in sizes), default=0) * width


def _beyond_a_layer(load: Load, head: int) -> int:
    """With checkpointing the head is gone before a layer is redone, which then also holds two gradients of its MLP."""
    layer = max(_layers(load, 4))
    redone = layer + 2 * _widest_mlp(load.shape) * 4 * load.micro_batch_tokens
    return max(head, redone) - layer


def _widest_mlp(shape: ModelShape) -> int:
    """Numbers of one token between the two halves of an MLP."""
    experts = shape.experts
    if experts is None:
        return shape.intermediate
    mixed = experts.active * experts.intermediate + experts.shared_intermediate
    return mixed if experts.layers == shape.layers else max(mixed, shape.intermediate)


def _layers(load: Load, width: int) -> list[int]:
    """What each layer keeps of the micro-batch, in bytes."""
    factor = width * (_MIXED if width == 2 else 1.0)
    both = _kept_by_all_layers(load)
    dense, mixed = both + _kept_of_an_mlp(load), both + _kept_of_experts(load)
    n_mixed = 0 if load.shape.experts is None else load.shape.experts.layers
    of_layers = [mixed] * n_mixed + [dense] * (load.shape.layers - n_mixed)
    return [round(load.micro_batch_tokens * kept * factor) for kept in of_layers]


def _kept_by_all_layers(load: Load) -> int:
    """Numbers a token: of attention and norms. Measured with Qwen3; Llama, whose queries have none, keeps less."""
    shape = load.shape
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    kept = 4 * shape.hidden + 3 * query + 3 * key
    if load.trains == "full":  # no LoRA's, but what goes into the norms, whose weights are trained too
        return kept + 2 * shape.hidden + query + key
    adapted = adapted_projections(shape, load.targets)
    if load.has_dropout:
        kept += 2 * sum(inputs for inputs, _ in adapted)  # each input again, and its mask
    if load.is_dora:  # what the base says and what the LoRA adds, for the gradient of the magnitudes
        kept += 2 * sum(outputs for _, outputs in adapted)
    if shape.experts is None:
        return kept + 7 * load.rank
    return kept - shape.hidden + 4 * load.rank  # no LoRA's of the MLP, nor what goes into it


def _kept_of_an_mlp(load: Load) -> int:
    """Its two halves, one of them after its activation; their product is an input, which only what is trained needs."""
    return (4 if _trains_mlps(load) else 3) * load.shape.intermediate


def _kept_of_experts(load: Load) -> int:
    """The same of each that is active, with what it says, which is weighed; and of the shared one."""
    experts, hidden = load.shape.experts, load.shape.hidden
    if experts is None:
        return 0
    n_inner, n_outer = (4, 2) if _trains_mlps(load) else (3, 1)
    kept = experts.active * (n_inner * experts.intermediate + n_outer * hidden)
    shared = experts.shared_intermediate
    return kept + (n_inner * shared + n_outer * hidden if shared else 0)


def _trains_mlps(load: Load) -> bool:
    return load.trains == "full" or load.shape.experts is None


def _head(load: Load, width: int) -> int:
    """Where the head is trained, a micro-batch's gradient of it is beside that of those before."""
    of_weights = load.shape.vocabulary * load.shape.hidden * 4 if load.trains == "full" else 0
    return _logits(load, width) + of_weights


def _logits(load: Load, width: int) -> int:
    """Logits of the labelled tokens, their log-probabilities and a gradient; of the fused head its portion."""
    tokens, columns = min(load.micro_batch_tokens, _FUSED_TOKENS), min(load.shape.vocabulary, _FUSED_VOCABULARY)
    if load.device == "cuda":
        return tokens * columns * width
    if load.is_fused:  # a portion is as wide whatever the vocabulary is, what is made of it is not
        return tokens * (_FUSED_VOCABULARY + _FUSED_COPIES * columns) * width
    return load.labelled_tokens * load.shape.vocabulary * 3 * 4


def _needed(memory: Memory, load: Load) -> int:
    """On a CPU with the plain base beside a quantised one, for the golden samples, and a copy of the best weights.

    On a GPU the samples are left out if need be, and the copy is in main memory.
    """
    if load.device == "cuda":
        return memory.peak
    copy = trainable_parameters(load) * 4 if load.keeps_best else 0
    beside = 0 if load.plan.quantization is None else (load.parameters or base_parameters(load.shape)) * 4
    return round(memory.peak * _CPU_MARGIN) + beside + copy + _PROCESS_BYTES
