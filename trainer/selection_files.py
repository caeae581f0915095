"""A selection as it lies in a run directory: written by the check, sealed, and used by every attempt."""

import shutil
from pathlib import Path

import numpy as np

from trainer.contract.checkpoint import is_complete, publish_directory, seal
from trainer.contract.selection import SelectionSummary, read_selection_summary, write_selection_summary
from trainer.failures import TrainerError
from trainer.selection import Numbers, Selection


def write_selection(directory: Path, selection: Selection) -> None:
    """Complete when renamed into place."""
    staged = directory.with_name(f".staged-{directory.name}")
    for path in (staged, directory):
        shutil.rmtree(path, ignore_errors=True)
    staged.mkdir()
    (staged / "training").write_bytes(selection.training.astype(np.uint32).tobytes())
    if selection.validation is not None:
        (staged / "validation").write_bytes(selection.validation.astype(np.uint32).tobytes())
    n_validation = None if selection.validation is None else len(selection.validation)
    write_selection_summary(staged, SelectionSummary(n_training=len(selection.training), n_validation=n_validation))
    seal(staged)
    publish_directory(staged, directory)


def read_selection(directory: Path) -> tuple[Numbers, Numbers | None]:
    """What is trained on and what is held out, each in two columns: file and number.

    Raises:
        TrainerError: it is damaged or not there.
    """
    summary = read_selection_summary(directory) if is_complete(directory) else None
    if summary is None:
        raise TrainerError("What was chosen of the job's examples is damaged or lost. Create the job again.")
    held_out = None if summary.n_validation is None else _read(directory / "validation")
    return _read(directory / "training"), held_out


def _read(path: Path) -> Numbers:
    return np.fromfile(path, dtype=np.uint32).reshape(-1, 2)
