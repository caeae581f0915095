"""`step_metrics.csv`, the result file of a job, plain text: OpenAI's columns, and behind them what a method adds."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

RESULT_FILENAME = "step_metrics.csv"
_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
_KEYS = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
_OF_PREFERENCES = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "kl",
    "nll_loss",
    "valid_rewards/margins",
)


def step_metrics_csv(metrics: Iterable[Mapping[str, Any]]) -> bytes:
    """Make the CSV from the data of a job's metrics events, in the order of their steps.

    Numbers are rounded to 5 decimals; what was not measured at a step is an empty cell. Where a
    step has only the full validation, that is its validation figure.
    """
    steps = list(metrics)
    further = [key for key in _OF_PREFERENCES if any(key in data or f"full_{key}" in data for data in steps)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *further])
    for data in steps:
        writer.writerow([data["step"], *(_cell(data, key) for key in (*_KEYS, *further))])
    return text.getvalue().encode()


def _cell(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, data.get("full_" + key))
    return "" if value is None else str(round(float(value), 5))
