"""What a `selection/` directory says of itself: how many examples of a job's files were chosen."""

from pathlib import Path

from pydantic import Field, ValidationError

from trainer.contract.run_directory import write_atomically
from trainer.contract.spec import Frozen

_SUMMARY = "selection.json"


class SelectionSummary(Frozen):
    n_training: int = Field(ge=0)
    n_validation: int | None  # None: nothing was held out


def write_selection_summary(directory: Path, summary: SelectionSummary) -> None:
    write_atomically(directory / _SUMMARY, summary.model_dump_json(indent=2).encode() + b"\n")


def read_selection_summary(directory: Path) -> SelectionSummary | None:
    """None if there is none."""
    try:
        return SelectionSummary.model_validate_json((directory / _SUMMARY).read_bytes())
    except (OSError, ValidationError):
        return None
