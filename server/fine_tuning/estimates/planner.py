"""How a run is made to fit into the memory there is, and what to do when it did not (pure).

The cheapest measure first: smaller micro-batches cost a few percent of the speed, gradient checkpointing a quarter,
and 4-bit weights change what is trained on. The examples of a step are the same with every plan.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from server.fine_tuning.estimates.layers import ALL_LINEAR
from server.fine_tuning.estimates.memory import Device, Load, Memory, Trains, estimate_memory
from server.fine_tuning.hyperparameters import WantedQuantization
from trainer.contract.shape import ModelShape
from trainer.contract.spec import MemoryPlan, Optimizer, Quantization

_BUDGET_TOKENS: dict[Device, int] = {"cpu": 4096, "cuda": 2048}  # on a GPU of a packed row, which is no longer
_UNPLANNED_TOKENS: dict[Device, int] = {"cpu": 4096, "cuda": 8192}
_SMALLEST_BUDGET_TOKENS = 256
_UNEVEN = 1.25  # a micro-batch can have more labelled tokens than its share


@dataclass(frozen=True)
class Work:
    """What of a job its memory depends on."""

    shape: ModelShape
    longest_tokens: int  # of an example, after cutting
    batch_size: int  # examples in a step
    labelled_share: float  # of the tokens, inside the loss mask
    rank: int = 16
    has_dropout: bool = False
    is_fused: bool = False  # whether the output head is TRL's on a CPU, too
    parameters: int | None = None  # of the base model, where they were counted
    optimizer: Optimizer = "adamw"
    trains: Trains = "lora"
    keeps_best: bool = False
    targets: Collection[str] = ALL_LINEAR
    is_dora: bool = False
    bfloat16: bool = True  # whether a GPU has it
    quantization: WantedQuantization = "auto"  # other than "auto": the job's own word, whatever the operator allows


@dataclass(frozen=True)
class Room:
    """Where the job is to run."""

    device: Device
    available_bytes: int
    allow_4bit: bool = False


@dataclass(frozen=True)
class Fit:
    plan: MemoryPlan
    memory: Memory


@dataclass(frozen=True)
class NoFit:
    """Not even the leanest plan that is allowed fits."""

    leanest: MemoryPlan
    memory: Memory
    available_bytes: int
    fitting_tokens: int  # the longest example that would fit; 0: none
    needed_with_4bit_bytes: int | None  # None: that was tried, or cannot be
    needed_with_lora_bytes: int | None = None  # None: that is what was tried

    def message(self) -> str:
        what = (
            f"Training would need {_gb(self.memory.needed)} of memory, and {_gb(self.available_bytes)} are available."
        )
        remedies = []
        if self.fitting_tokens > 0:
            remedies.append(f"with examples of at most {self.fitting_tokens} tokens it fits")
        if self.needed_with_4bit_bytes is not None and self.needed_with_4bit_bytes <= self.available_bytes:
            remedies.append(f"with quantization 'nf4' it needs {_gb(self.needed_with_4bit_bytes)}")
        if self.needed_with_lora_bytes is not None and self.needed_with_lora_bytes <= self.available_bytes:
            remedies.append(f"with adapter type 'lora' it needs {_gb(self.needed_with_lora_bytes)}")
        advice = "; ".join(remedies) or "choose a smaller base model"
        return f"{what} To make it fit: {advice}."


def default_plan(device: Device, quantization: Quantization | None = None) -> MemoryPlan:
    """Of a job whose memory cannot be estimated: careful on a GPU, whose memory cannot grow."""
    return MemoryPlan(
        micro_batch_tokens=_UNPLANNED_TOKENS[device],
        gradient_checkpointing=device == "cuda",
        quantization=quantization,
    )


def choose_plan(work: Work, room: Room) -> Fit | NoFit:
    """Choose the first plan that fits, from the fastest to the leanest."""
    tried = []
    for plan in _plans(work, room):
        memory = memory_of(work, room.device, plan)
        if memory.needed <= room.available_bytes:
            return Fit(plan, memory)
        tried.append(Fit(plan, memory))
    leanest = min(tried, key=lambda fit: fit.memory.needed)
    return _no_fit(work, room, leanest)


def leaner_plan(plan: MemoryPlan, *, longest_tokens: int, batch_size: int, allow_4bit: bool) -> MemoryPlan | None:
    """The next plan after memory ran out with this one; None if nothing is left to try.

    Half the micro-batch, down to one example at a time; then checkpointing; then, where it is allowed, 4 bits.
    """
    largest = _largest_micro_batch(plan.micro_batch_tokens, longest_tokens, batch_size)
    if largest > longest_tokens:
        return plan.model_copy(update={"micro_batch_tokens": max(longest_tokens, largest // 2)})
    if not plan.gradient_checkpointing:
        return plan.model_copy(update={"gradient_checkpointing": True})
    if plan.quantization is None and allow_4bit:
        return plan.model_copy(update={"quantization": "nf4"})
    return None


def _plans(work: Work, room: Room) -> Iterator[MemoryPlan]:
    for quantization in _quantizations(work, room):
        for checkpointing in (False, True):
            for budget in _budgets(_BUDGET_TOKENS[room.device], work.longest_tokens):
                yield MemoryPlan(
                    micro_batch_tokens=budget, gradient_checkpointing=checkpointing, quantization=quantization
                )


def _quantizations(work: Work, room: Room) -> tuple[Quantization | None, ...]:
    if work.trains == "full":
        return (None,)  # what is itself trained cannot be quantised
    if work.quantization != "auto":
        return (work.quantization,)
    return (None, "nf4") if room.allow_4bit else (None,)


def _budgets(largest: int, longest_tokens: int) -> Iterator[int]:
    """Halves, down to one example at a time."""
    smallest = max(_SMALLEST_BUDGET_TOKENS, longest_tokens)
    budget = largest
    while budget > smallest:
        yield budget
        budget //= 2
    yield min(largest, smallest)


def _largest_micro_batch(budget_tokens: int, longest_tokens: int, batch_size: int) -> int:
    return max(longest_tokens, min(budget_tokens, longest_tokens * batch_size))


def memory_of(work: Work, device: Device, plan: MemoryPlan) -> Memory:
    """What the work takes with this plan, in its largest micro-batch."""
    tokens = _largest_micro_batch(plan.micro_batch_tokens, work.longest_tokens, work.batch_size)
    labelled = round(tokens * min(1.0, work.labelled_share * _UNEVEN))
    load = Load(
        shape=work.shape,
        plan=plan,
        device=device,
        micro_batch_tokens=tokens,
        labelled_tokens=labelled,
        rank=work.rank,
        has_dropout=work.has_dropout,
        targets=work.targets,
        is_dora=work.is_dora,
        trains=work.trains,
        keeps_best=work.keeps_best,
        is_fused=work.is_fused,
        parameters=work.parameters,
        optimizer=work.optimizer,
        bfloat16=work.bfloat16,
    )
    return estimate_memory(load)


def _no_fit(work: Work, room: Room, leanest: Fit) -> NoFit:
    quantization = _quantizations(work, room)[-1]
    plan = MemoryPlan(micro_batch_tokens=1, gradient_checkpointing=True, quantization=quantization)
    with_4bit = plan.model_copy(update={"quantization": "nf4"})
    is_full = work.trains == "full"
    return NoFit(
        leanest=leanest.plan,
        memory=leanest.memory,
        available_bytes=room.available_bytes,
        fitting_tokens=_longest_that_fits(work, room, plan),
        needed_with_4bit_bytes=None
        if is_full or quantization == "nf4"
        else memory_of(work, room.device, with_4bit).needed,
        needed_with_lora_bytes=memory_of(replace(work, trains="lora"), room.device, leanest.plan).needed
        if is_full
        else None,
    )


def _longest_that_fits(work: Work, room: Room, plan: MemoryPlan) -> int:
    low, high = 0, work.longest_tokens
    while low < high:
        middle = (low + high + 1) // 2
        fits = memory_of(replace(work, longest_tokens=middle), room.device, plan).needed <= room.available_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _gb(n_bytes: int) -> str:
    """Three digits, so that what just does not fit can be told from what is there."""
    gigabytes = n_bytes / 1e9
    return f"{gigabytes:,.0f} GB" if gigabytes >= 100 else f"{gigabytes:.3g} GB"
