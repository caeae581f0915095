"""What was asked for and lies outside what practice has found to work: said, never refused (pure).

The learning rate, whose range follows from the base model, is judged with the diagnoses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.fine_tuning.hyperparameters import ResolvedHyperparameters
from trainer.contract.spec import BY_TOKENS, MethodName

_MOST_EPOCHS = 10
_RANKS = (4, 64)
_LARGE_BATCH = 64  # above which a file gets few steps


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    outcome: str  # of a value outside


_RANGES: Mapping[str, _Range] = {
    "warmup_ratio": _Range(0, 0.1, "much of the run is spent at a low learning rate"),
    "weight_decay": _Range(0, 0.1, "the weights are drawn to zero faster than most data teach them"),
    "max_grad_norm": _Range(0.1, 10, "nearly every step, or none, is shortened"),
}


def warn(
    requested: Mapping[str, Any], resolved: ResolvedHyperparameters, n_steps: int, *, method: MethodName = "supervised"
) -> list[str]:
    """A sentence for each number that was asked for and is unusual; of what "auto" came to, none."""
    asked = {name: value for name, value in requested.items() if value != "auto"}
    return [
        *_outside_ranges(asked),
        *_too_much(asked, resolved),
        *_of_the_adapter(asked),
        *_noisy(resolved, method),
        *_in_vain(asked, n_steps),
    ]


def _outside_ranges(asked: Mapping[str, Any]) -> Iterator[str]:
    for name, usual in _RANGES.items():
        if name in asked and not usual.low <= asked[name] <= usual.high:
            yield _sentence(name, asked[name], f"{usual.low:g} to {usual.high:g}", usual.outcome)


def _too_much(asked: Mapping[str, Any], resolved: ResolvedHyperparameters) -> Iterator[str]:
    if asked.get("n_epochs", 0) > _MOST_EPOCHS:
        yield _sentence("n_epochs", resolved.n_epochs, f"1 to {_MOST_EPOCHS}", "the examples may be learnt by heart")
    if asked.get("batch_size", 0) > _LARGE_BATCH:
        yield _sentence("batch_size", resolved.batch_size, f"1 to {_LARGE_BATCH}", "there are few steps to learn in")


def _of_the_adapter(asked: Mapping[str, Any]) -> Iterator[str]:
    rank = (asked.get("adapter") or {}).get("rank", "auto")
    if rank != "auto" and not _RANKS[0] <= rank <= _RANKS[1]:
        outcome = "too little can be learnt" if rank < _RANKS[0] else "small files are learnt by heart"
        yield _sentence("adapter.rank", rank, f"{_RANKS[0]} to {_RANKS[1]}", outcome)


def _noisy(resolved: ResolvedHyperparameters, method: MethodName) -> Iterator[str]:
    if resolved.lora_dropout > 0 and method not in BY_TOKENS:
        yield (
            f"adapter.dropout is {resolved.lora_dropout:g}, and preferences are usually trained without: it is noise "
            "in the log-probabilities that answers are judged by. The job goes on as you asked."
        )


def _in_vain(asked: Mapping[str, Any], n_steps: int) -> Iterator[str]:
    if asked.get("validation_interval", 0) > n_steps:
        yield (
            f"validation_interval is {asked['validation_interval']}, and there are {n_steps} steps: a part of the "
            "validation file is looked at only after the last one."
        )


def _sentence(name: str, value: float, usual: str, outcome: str) -> str:
    return f"{name} is {value:g}, outside the usual {usual}: {outcome}. The job goes on as you asked."
