"""What is unusual is said, and never refused: by table."""

from typing import Any

import pytest

from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve
from server.fine_tuning.practice import warn
from trainer.contract.spec import MethodName

N_EXAMPLES = 500


def warned(**requested: Any) -> list[str]:
    resolved = resolve(requested, DatasetStats(N_EXAMPLES), BaseModelInfo(1_000_000_000, 4096))
    return warn(requested, resolved, resolved.total_steps(N_EXAMPLES))


@pytest.mark.parametrize(
    ("name", "usual", "unusual", "words"),
    [
        ("n_epochs", 10, 11, "n_epochs is 11, outside the usual 1 to 10: the examples may be learnt by heart."),
        ("batch_size", 64, 65, "batch_size is 65, outside the usual 1 to 64: there are few steps to learn in."),
        ("warmup_ratio", 0.1, 0.11, "warmup_ratio is 0.11, outside the usual 0 to 0.1"),
        ("weight_decay", 0.1, 0.2, "weight_decay is 0.2, outside the usual 0 to 0.1"),
        ("max_grad_norm", 0.1, 0.05, "max_grad_norm is 0.05, outside the usual 0.1 to 10"),
        ("max_grad_norm", 10.0, 11.0, "max_grad_norm is 11, outside the usual 0.1 to 10"),
        ("validation_interval", 500, 501, "validation_interval is 501, and there are 500 steps"),
    ],
)
def test_each_number_has_a_range_that_practice_has_found(name: str, usual: Any, unusual: Any, words: str) -> None:
    of_run = {"n_epochs": 4, "batch_size": 4}
    assert warned(**{**of_run, name: usual}) == []
    (sentence,) = warned(**{**of_run, name: unusual})
    assert sentence.startswith(words)


@pytest.mark.parametrize(
    ("method", "dropout", "is_said"),
    [("dpo", 0.05, True), ("kto", 0.05, True), ("dpo", 0, False), ("supervised", 0.05, False)],
)
def test_dropout_that_is_asked_for_preferences_is_trained_with_and_warned_of(
    method: MethodName, dropout: float, is_said: bool
) -> None:
    requested = {"adapter": {"dropout": dropout}}
    resolved = resolve(requested, DatasetStats(N_EXAMPLES), BaseModelInfo(1_000_000_000, 4096), method=method)
    assert resolved.lora_dropout == dropout
    said = warn(requested, resolved, resolved.total_steps(N_EXAMPLES), method=method)
    assert [sentence.startswith("adapter.dropout is 0.05") for sentence in said] == [True] * is_said


@pytest.mark.parametrize("n_examples", [1, 100, 10_000_000])
def test_nothing_is_said_of_what_auto_comes_to(n_examples: int) -> None:
    requested = {"batch_size": "auto", "n_epochs": "auto"}
    resolved = resolve(requested, DatasetStats(n_examples), BaseModelInfo(4_000_000, 1024))
    assert warn(requested, resolved, resolved.total_steps(n_examples)) == []
