"""What engines take and what there is for them and for trainers, by policy and machine (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from server.placement.facts import Patience, Policy, Resources

GIB = 1024**3
_GPU_ALONE = 0.9  # of a GPU's memory, for engines that need not share it
_MAIN_SHARE = 0.5  # of main memory, for all engines beside trainers
_MAIN_ALONE = 0.9  # of main memory, where only one side is there
_TRAINERS_ALONE = 0.95  # of a GPU's memory
_ENGINE_CONTEXT_BYTES = 2 * GIB  # on a GPU: its context, graphs and activations
_LEAST_CACHE_BYTES = GIB


@dataclass(frozen=True)
class EngineSize:
    base_model: str  # or the full model that it serves
    needed_bytes: int  # 0: not known
    device: int = 0
    gpu_share: float = 0.0  # of the GPU's memory, as the engine is told
    on_demand: bool = False  # it runs only when it is asked
    whole_bytes: int | None = None  # what a full model's on this base needs, where its own weights are quantised


def size_of_full(of_base: EngineSize, name: str) -> EngineSize:
    """Of a full model's engine: as its base's, with weights that are not quantised."""
    if of_base.whole_bytes is None or not of_base.needed_bytes:
        return replace(of_base, base_model=name, on_demand=True)
    share = min(_GPU_ALONE, of_base.gpu_share * of_base.whole_bytes / of_base.needed_bytes)
    return EngineSize(name, of_base.whole_bytes, of_base.device, round(share, 4), on_demand=True)


@dataclass(frozen=True)
class Machine:
    """Bytes of memory: of the GPUs by index (None: they do not say), or of the machine where it has none."""

    has_gpu: bool
    main_bytes: int
    gpu_bytes: Mapping[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Wishes:
    """What the operator has set."""

    policy: Policy = Policy.SHARE
    slots: int = 1
    engine_gpu_share: float = 0.45
    engine_memory_bytes: int | None = None
    trainer_memory_bytes: int | None = None
    engine_gpus: tuple[int, ...] = (0,)
    trainer_gpus: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Placement:
    """All that placing goes by and that does not change while the service runs."""

    policy: Policy = Policy.SHARE
    resources: Resources = field(default_factory=Resources)
    patience: Patience = field(default_factory=Patience)
    sizes: tuple[EngineSize, ...] = ()
    on_gpu: bool = False  # what is placed is their memory, not the machine's


def place_on_cpu(
    machine: Machine, wishes: Wishes, engines: Mapping[str, int], whole: Mapping[str, int] = {}
) -> tuple[Resources, tuple[EngineSize, ...]]:
    """`engines`: what each takes of main memory; 0: not known. Without a GPU, `separate` is `share`.

    `whole`: of those that quantise their weights, what one takes that does not.
    """
    is_alone = wishes.policy is Policy.YIELD
    budget = wishes.engine_memory_bytes
    if budget is None:
        share = round(machine.main_bytes * (_MAIN_ALONE if is_alone else _MAIN_SHARE))
        budget = max(share, max(engines.values(), default=0))
    trainers = wishes.trainer_memory_bytes
    if trainers is None:
        beside = max(0, machine.main_bytes - min(sum(engines.values()), budget))
        trainers = round(machine.main_bytes * _MAIN_ALONE) if is_alone else beside
    sizes = tuple(EngineSize(name, needed, whole_bytes=whole.get(name)) for name, needed in engines.items())
    return Resources(wishes.slots, {0: budget}, {0: trainers}), sizes


def place_on_gpus(
    machine: Machine, wishes: Wishes, weights: Mapping[str, int], whole: Mapping[str, int] = {}
) -> tuple[Resources, tuple[EngineSize, ...]]:
    """`weights`: bytes of each base model's weights as its engine holds them; 0: not known.

    `whole`: of those that are quantised there, the bytes that they are otherwise.
    """
    is_shared = wishes.policy is Policy.SHARE
    are_apart = wishes.policy is Policy.SEPARATE
    engine_gpus = wishes.engine_gpus if are_apart else (0,)
    trainer_gpus = wishes.trainer_gpus if are_apart else (0,)
    share = wishes.engine_gpu_share if is_shared else _GPU_ALONE
    names = list(weights)
    sizes: dict[str, EngineSize] = {}
    budgets: dict[int, int | None] = {}
    for position, gpu in enumerate(engine_gpus):
        here = {name: weights[name] for name in names[position :: len(engine_gpus)]}
        total = machine.gpu_bytes.get(gpu)
        budgets[gpu] = _budget(total, share, wishes.engine_memory_bytes)
        placed = _sizes_on(gpu, total, share, budgets[gpu], here)
        sizes |= {size.base_model: _with_whole(size, whole.get(size.base_model), budgets[gpu]) for size in placed}
    trainer_share = 1 - wishes.engine_gpu_share if is_shared else _TRAINERS_ALONE
    trainers = {gpu: _trainer_room(machine.gpu_bytes.get(gpu), trainer_share, wishes) for gpu in trainer_gpus}
    return Resources(wishes.slots, budgets, trainers), tuple(sizes[name] for name in names)


def _budget(total: int | None, share: float, wanted: int | None) -> int | None:
    if wanted is not None:
        return wanted if total is None else min(wanted, round(total * _GPU_ALONE))
    return None if total is None else round(total * share)


def _trainer_room(total: int | None, share: float, wishes: Wishes) -> int | None:
    if wishes.trainer_memory_bytes is not None:
        return wishes.trainer_memory_bytes
    if total is None:
        return None
    if wishes.policy is Policy.SHARE and wishes.engine_memory_bytes is not None:
        return max(0, total - wishes.engine_memory_bytes)
    return round(total * share)


def _sizes_on(
    gpu: int, total: int | None, share: float, budget: int | None, weights: Mapping[str, int]
) -> list[EngineSize]:
    """An engine takes its share when it starts: as much as lets the most of them run together, whichever they are."""
    if total is None or budget is None:
        return [EngineSize(name, 0, gpu, share / len(weights)) for name in weights]
    least = {name: _least_bytes(size) for name, size in weights.items()}
    together = max(1, _how_many_fit(sorted(least.values(), reverse=True), budget))
    needs = {name: min(budget, max(need, budget // together)) for name, need in least.items()}
    return [EngineSize(name, need, gpu, round(need / total, 4)) for name, need in needs.items()]


def _with_whole(size: EngineSize, whole: int | None, budget: int | None) -> EngineSize:
    if whole is None or budget is None:
        return size
    return replace(size, whole_bytes=min(budget, max(size.needed_bytes, _least_bytes(whole))))


def _least_bytes(weights: int) -> int:
    return round(weights * 1.15) + _ENGINE_CONTEXT_BYTES + _LEAST_CACHE_BYTES if weights else 0


def _how_many_fit(largest_first: Sequence[int], budget: int) -> int:
    taken = fitting = 0
    for need in largest_first:
        taken += need
        fitting += taken <= budget
    return fitting
