"""The result file: OpenAI's columns, plain CSV."""

from typing import Any

import pytest

from server.fine_tuning.publishing.result_file import RESULT_FILENAME, step_metrics_csv

HEADER = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"


def rows(*metrics: dict[str, Any]) -> list[str]:
    header, *rows = step_metrics_csv(metrics).decode().removesuffix("\n").split("\n")
    assert header == HEADER
    return rows


ROWS: dict[str, tuple[dict[str, float], str]] = {
    "training alone": ({"train_loss": 1.5, "train_mean_token_accuracy": 0.25}, "7,1.5,0.25,,"),
    "with validation": (
        {
            "train_loss": 1.5,
            "train_mean_token_accuracy": 0.25,
            "valid_loss": 2.0,
            "valid_mean_token_accuracy": 0.125,
            "full_valid_loss": 9.0,
            "full_valid_mean_token_accuracy": 0.9,
        },
        "7,1.5,0.25,2.0,0.125",
    ),
    "with the full validation alone": (
        {
            "train_loss": 1.5,
            "train_mean_token_accuracy": 0.25,
            "full_valid_loss": 2.0,
            "full_valid_mean_token_accuracy": 0.125,
        },
        "7,1.5,0.25,2.0,0.125",
    ),
    "five decimals": (
        {"train_loss": 1.2345678, "train_mean_token_accuracy": 2 / 3, "valid_loss": 0.000004},
        "7,1.23457,0.66667,0.0,",
    ),
    "zero is a measurement": ({"train_loss": 0.0, "train_mean_token_accuracy": 0, "valid_loss": 0.0}, "7,0.0,0.0,0.0,"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_step_is_a_row(name: str) -> None:
    metrics, expected = ROWS[name]
    assert [expected] == rows({"step": 7, "total_steps": 9, **metrics})


def test_steps_keep_their_order_and_the_file_ends_with_a_newline() -> None:
    content = step_metrics_csv({"step": step, "train_loss": 1.0, "train_mean_token_accuracy": 1.0} for step in (1, 2))
    assert content == f"{HEADER}\n1,1.0,1.0,,\n2,1.0,1.0,,\n".encode()


def test_a_job_without_metrics_has_a_header_alone() -> None:
    assert rows() == []
    assert RESULT_FILENAME == "step_metrics.csv"


def test_what_a_method_measures_besides_stands_behind_openais_columns() -> None:
    step = {"train_loss": 0.69, "train_mean_token_accuracy": 0.5, "rewards/chosen": 0.125, "rewards/accuracies": 0.5}
    last = {**step, "full_valid_loss": 0.5, "full_valid_mean_token_accuracy": 1.0, "full_valid_rewards/margins": 0.25}
    content = step_metrics_csv([{"step": 1, **step}, {"step": 2, **last}])
    assert content.decode().splitlines() == [
        f"{HEADER},rewards/chosen,rewards/accuracies,valid_rewards/margins",
        "1,0.69,0.5,,,0.125,0.5,",
        "2,0.69,0.5,0.5,1.0,0.125,0.5,0.25",
    ]
