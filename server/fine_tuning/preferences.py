"""What is particular to the methods of preferences: their own numbers, and how far they step (pure)."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from trainer.contract.formats.names import PREFERENCE_PAIRS, formats_of
from trainer.contract.spec import MethodName

# Of a supervised job's learning rate. DPO's recipes take a fortieth of it, with LoRA as without: 5e-6 beside 2e-4, 5e-7
# beside 2e-5 (alignment-handbook, zephyr-7b-dpo); KTO and SimPO step as far (arXiv 2402.01306, 2405.14734: 5e-7). ORPO
# learns the answers too: 5e-6 to 8e-6 beside 2e-5 (arXiv 2403.07691).
_LEARNING_RATE_SHARES: Mapping[MethodName, float] = {"dpo": 1 / 40, "kto": 1 / 40, "simpo": 1 / 40, "orpo": 1 / 4}
# beta: TRL's and the papers' 0.1; for SimPO, which compares means over tokens, its paper's 2.0 to 2.5, with a margin
# gamma of 0.5 to 1.5.
_AUTO: Mapping[MethodName, Mapping[str, float]] = {
    "dpo": {"beta": 0.1},
    "orpo": {"beta": 0.1},
    "kto": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 0.5},
}
_METHOD_NAME: TypeAdapter[MethodName] = TypeAdapter(MethodName)
_LEAST_BATCH: Mapping[MethodName, int] = {"kto": 4}  # of "auto": the distance is estimated over a step
_MOST_UNEVEN = 4 / 3  # of the weight that all good answers have, to that of all bad ones (arXiv 2402.01306)
_MOST_WEIGHT = 100.0


def method_name(method: str) -> MethodName:
    """A job's method, in the trainer's word for it."""
    return _METHOD_NAME.validate_python(method)


def learning_rate_share(method: MethodName) -> float:
    return _LEARNING_RATE_SHARES.get(method, 1.0)


def least_batch(method: MethodName) -> int:
    return _LEAST_BATCH.get(method, 1)


def own_numbers(
    method: MethodName, requested: Mapping[str, Any], *, n_examples: int, n_desirable: int
) -> dict[str, float]:
    """The numbers that only this method has, every "auto" resolved."""
    auto = dict(_AUTO.get(method, {}))
    if method == "kto":
        auto |= _balanced(n_desirable, n_examples - n_desirable)
    asked = {name: requested.get(name, "auto") for name in auto}
    return {name: auto[name] if value == "auto" else value for name, value in asked.items()}


def _balanced(n_good: int, n_bad: int) -> dict[str, float]:
    """Weights by which good answers together count as much as bad ones, or a third more, as KTO's paper advises."""
    good, bad = 1.0, 1.0
    if n_good and n_bad:
        ratio = n_good / n_bad
        good = min(_MOST_WEIGHT, max(1.0, 1 / ratio))
        bad = min(_MOST_WEIGHT, max(1.0, ratio / _MOST_UNEVEN))
    return {"desirable_weight": round(good, 4), "undesirable_weight": round(bad, 4)}


def sequences_per_example(method: MethodName) -> int:
    """How many sequences have to be in one micro-batch: both answers of a pair."""
    return 2 if formats_of(method) == PREFERENCE_PAIRS else 1


def has_fused_head(method: MethodName) -> bool:
    """Whether TRL's output head scores all tokens on a CPU, too; elsewhere only those that are learnt have logits."""
    return method in ("dpo", "kto")


def labelled_share(method: MethodName, of_answers: float) -> float:
    """Of the tokens, those that are scored: the answers; ORPO learns its preferred one with its prompt."""
    return (1 + of_answers) / 2 if method == "orpo" else of_answers


def passes_before_training(method: MethodName, n_epochs: int) -> int:
    """Forward passes over the examples for the reference; for KTO also of each step's mismatched answers, twice."""
    return {"dpo": 1, "kto": 1 + 2 * n_epochs}.get(method, 0)
