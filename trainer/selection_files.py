"""A selection as it lies in a run directory: written by the check, sealed, and used by every attempt."""

import hashlib
import shutil
from pathlib import Path

import numpy as np

from trainer.contract.checkpoint import is_complete, publish_directory, seal
from trainer.contract.selection import SelectionSummary, read_selection_summary, write_selection_summary
from trainer.failures import TrainerError
from trainer.selection import Numbers, Selection


def write_selection(directory: Path, selection: Selection) -> str:
    """Complete when renamed into place. What is returned tells this choice from every other one."""
    staged = directory.with_name(f".staged-{directory.name}")
    for path in (staged, directory):
        shutil.rmtree(path, ignore_errors=True)
    staged.mkdir()
    for name, chosen in (("training", selection.training), ("validation", selection.validation)):
        if chosen is not None:
            (staged / name).write_bytes(chosen.astype(np.uint32).tobytes())
    n_validation = None if selection.validation is None else len(selection.validation)
    write_selection_summary(staged, SelectionSummary(n_training=len(selection.training), n_validation=n_validation))
    seal(staged)
    publish_directory(staged, directory)
    return _sha256(selection.training, selection.validation)


def is_as_chosen(directory: Path, sha256: str | None) -> bool:
    """Whether a whole choice is there, and, unless `sha256` is None, that very one."""
    try:
        training, validation = read_selection(directory)
    except TrainerError:
        return False
    return sha256 is None or sha256 == _sha256(training, validation)


def read_selection(directory: Path) -> tuple[Numbers, Numbers | None]:
    """What is trained on and what is held out, each in two columns: file and number.

    Raises:
        TrainerError: it is damaged or not there.
    """
    summary = read_selection_summary(directory) if is_complete(directory) else None
    try:
        if summary is not None:
            held_out = None if summary.n_validation is None else _read(directory / "validation")
            return _read(directory / "training"), held_out
    except (OSError, ValueError):  # a manifest that does not name all of them
        pass
    raise TrainerError("What was chosen of the job's examples is damaged or lost. Create the job again.")


def _read(path: Path) -> Numbers:
    return np.fromfile(path, dtype=np.uint32).reshape(-1, 2)


def _sha256(training: Numbers, validation: Numbers | None) -> str:
    digest = hashlib.sha256(training.astype(np.uint32).tobytes())
    if validation is not None:
        digest.update(b"validation" + validation.astype(np.uint32).tobytes())
    return digest.hexdigest()
