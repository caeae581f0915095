"""Whether what a client wants to train can be served afterwards, and how: said before anything is trained (pure)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from server.fine_tuning.adapter_options import VARIANTS, AdapterOptions, may_be_quantised, resolve_adapter, served_rank

Route = Literal["as it is", "converted"]  # to a plain LoRA

_FIRST_AND_LAST = ("embed_tokens", "lm_head")  # no engine of ours applies an adapter to them
_MOST_SCALING = 256.0  # `inference.adapter_config` has the same
_OFFERED = "Use 'lora', 'dora' or 'pissa'."
_INSTEAD: Mapping[str, str] = {
    "adalora": "An engine fails on its tensors, whose ranks differ. Use 'lora'.",
    "ia3": "It scales activations, which no LoRA does exactly. Use 'lora'.",
    "olora": "It changes the base's weights, as PiSSA does. Use 'pissa'.",
    "pissa_niter": "It is not the same when it is loaded again. Use 'pissa', whose decomposition is exact.",
    "qlora": "It is LoRA on a base in 4 bits. Use 'lora', with 'quantization' 'nf4'.",
    "rslora": "It is a scaling of LoRA. Use 'lora', with 'use_rslora' true.",
}


@dataclass(frozen=True)
class Base:
    """What is known of the base model without loading it."""

    layers: Mapping[str, int] | None = None  # its linear layers: the smaller side of the smallest of each name
    stored_in: str | None = None  # how its files are quantised; None: they are not
    served_in: str | None = None  # how its engine quantises it; None: it does not


@dataclass(frozen=True)
class Parent:
    """The adapter that the training goes on from: a plain LoRA, as everything that is published."""

    name: str
    shape: Mapping[str, Any]  # by the names of `ResolvedHyperparameters`


@dataclass(frozen=True)
class Wanted:
    adapter: AdapterOptions
    max_rank: int  # that the engine serves
    base: Base = field(default_factory=Base)
    quantization: str | None = None  # of the base while it is trained on, where that was asked for
    parent: Parent | None = None


@dataclass(frozen=True)
class Refusal:
    option: str  # of `adapter`
    message: str  # with what would work


def route_of(wanted: Wanted) -> Route | Refusal:
    """How the adapter would be served, or why it cannot."""
    refusal = next(_refusals(wanted), None)
    if refusal is not None:
        return refusal
    return "as it is" if wanted.adapter.type == "lora" else "converted"


def _refusals(wanted: Wanted) -> Iterator[Refusal]:
    yield from _of_type(wanted.adapter.type)
    if wanted.parent is not None:
        yield from _of_parent(wanted.adapter, wanted.parent)
    resolved = {
        **resolve_adapter(wanted.adapter, wanted.max_rank),
        **(wanted.parent.shape if wanted.parent else {}),
    }
    yield from _of_targets(resolved["lora_target_modules"], wanted.base)
    yield from _of_rank(resolved, wanted)
    yield from _of_scaling(resolved)
    yield from _of_quantization(wanted)


def _of_type(asked: str) -> Iterator[Refusal]:
    if asked not in VARIANTS:
        known = asked.lower()
        known = "pissa_niter" if known.startswith("pissa_niter") else known
        advice = _INSTEAD.get(known, f"No engine serves it as it is, and it is not converted. {_OFFERED}")
        yield Refusal("type", f"The adapter type '{asked}' is not offered. {advice}")


def _of_parent(asked: AdapterOptions, parent: Parent) -> Iterator[Refusal]:
    goes_on = f"Training goes on from the adapter of {parent.name}, which is a plain LoRA"
    if asked.type != "lora":
        yield Refusal("type", f"{goes_on}, and stays one. Leave 'adapter' out, or ask for the type 'lora'.")
    shape = parent.shape
    different = {
        "rank": asked.rank not in ("auto", shape["lora_rank"]),
        "alpha": asked.alpha not in ("auto", shape["lora_alpha"]),
        "target_modules": isinstance(asked.target_modules, list)
        and set(asked.target_modules) != set(shape["lora_target_modules"]),
        "use_rslora": asked.use_rslora and not shape["lora_rslora"],
    }
    for option, differs in different.items():
        if differs:
            is_now = shape["lora_rslora"] if option == "use_rslora" else shape[f"lora_{option}"]
            yield Refusal(option, f"{goes_on} whose '{option}' is {_shown(is_now)}, and keeps it. Leave it out.")


def _of_targets(targets: Any, base: Base) -> Iterator[Refusal]:
    if isinstance(targets, str):
        return
    offered = "" if base.layers is None else f" The base model has {', '.join(sorted(base.layers))}."
    outside = [name for name in targets if name.rpartition(".")[2] in _FIRST_AND_LAST]
    if outside:
        yield Refusal(
            "target_modules",
            f"No engine applies an adapter to {_named(outside)}, the first and the last layer. "
            f"Use 'all-linear', or name other linear layers.{offered}",
        )
    unknown = [name for name in targets if base.layers is not None and name not in base.layers]
    if unknown:
        yield Refusal("target_modules", f"The base model has no linear layer named {_named(unknown)}.{offered}")


def _of_rank(resolved: Mapping[str, Any], wanted: Wanted) -> Iterator[Refusal]:
    variant, rank = resolved["lora_variant"], resolved["lora_rank"]
    served = served_rank(variant, rank)
    if served > wanted.max_rank:
        as_what = "" if served == rank else f" as a plain LoRA of rank {served}"
        yield Refusal(
            "rank",
            f"A '{variant}' adapter of rank {rank} would be served{as_what}, and the engine serves ranks up to "
            f"{wanted.max_rank}. Ask for a rank of at most {wanted.max_rank * rank // served}.",
        )
    if variant == "pissa" and wanted.base.layers is not None:
        targets = resolved["lora_target_modules"]
        sides = [side for name, side in wanted.base.layers.items() if isinstance(targets, str) or name in targets]
        if sides and rank > min(sides):
            yield Refusal(
                "rank",
                f"PiSSA takes no more components out of a layer than it has: {min(sides)} in the smallest. "
                f"Ask for a rank of at most {min(sides)}.",
            )


def _of_scaling(resolved: Mapping[str, Any]) -> Iterator[Refusal]:
    divisor = math.sqrt(resolved["lora_rank"]) if resolved["lora_rslora"] else resolved["lora_rank"]
    if resolved["lora_alpha"] / divisor > _MOST_SCALING:
        most = math.floor(_MOST_SCALING * divisor)
        yield Refusal(
            "alpha", f"An 'alpha' of {resolved['lora_alpha']} ruins any model at this rank. Ask for at most {most}."
        )


def _of_quantization(wanted: Wanted) -> Iterator[Refusal]:
    variant = wanted.adapter.type
    if variant == "lora":
        return
    if wanted.base.stored_in is not None:
        yield Refusal(
            "type",
            f"The base model's own weights are quantised ({wanted.base.stored_in}): a '{variant}' adapter cannot be "
            "converted to a plain LoRA on them. Use 'lora'.",
        )
    elif wanted.base.served_in is not None:
        yield Refusal(
            "type",
            f"The base model is served in {wanted.base.served_in}: a '{variant}' adapter cannot be converted to a "
            "plain LoRA on quantised weights. Use 'lora'.",
        )
    if not may_be_quantised(variant) and wanted.quantization not in (None, "auto", "none"):
        yield Refusal(
            "type",
            f"PiSSA divides the base's weights between base and adapter, which cannot be done in "
            f"'{wanted.quantization}'. Use 'lora' or 'dora', or 'quantization' 'none'.",
        )


def _named(names: list[str]) -> str:
    return ", ".join(f"'{name[:128]}'" for name in names)


def _shown(value: Any) -> str:
    return ", ".join(sorted(value)) if isinstance(value, list | tuple) else str(value).lower()
