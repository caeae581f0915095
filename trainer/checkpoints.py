"""Save what a run needs to go on, and an adapter as it is served; prune; resume."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.adapter import load_adapter
from trainer.adapter_files import ADAPTER_WEIGHTS, check_finite
from trainer.contract.checkpoint import ADAPTER, is_complete, list_checkpoints, publish_directory, seal, step_of
from trainer.contract.full_model import WEIGHTS
from trainer.contract.run_directory import RunDirectory
from trainer.failures import TrainerError
from trainer.state import TrainingState
from trainer.weights import all_weights, copy_weights, is_adapter, set_weights

_KEPT_EPOCHS = 3
_STATE = "state.pt"
_TRAINED = (
    "trained"  # inside a checkpoint directory: the weights in training, where they are no adapter served as it is
)
_BEST = "best"  # likewise, those of the best step so far, where that is an earlier one
_BEGINNING = "beginning"  # likewise, what PiSSA took out of the base
_STAGED = ".staged-"  # a prefix that no complete directory has


def save_checkpoint(run: RunDirectory, state: TrainingState, publish: Callable[[Path], None]) -> Path:
    """Save after the step that is done; the directory is complete when this returns.

    `publish` writes the adapter as it is served into the directory it is given, or leaves it away.

    Raises:
        LossNotFinite: the weights hold a number that is not finite.
    """
    final = run.checkpoint(state.step)
    run.checkpoints.mkdir(exist_ok=True)
    trained = copy_weights(state.model) if is_adapter(state.model) else all_weights(state.model)
    check_finite(trained, step=state.step)

    def fill(staged: Path) -> None:
        publish(staged / ADAPTER)
        kept = {_TRAINED: trained, _BEGINNING: state.beginning, _BEST: None if state.is_best else state.best_weights}
        if state.is_plain and (staged / ADAPTER).exists():
            del kept[_TRAINED]  # it is what `publish` wrote
        for name, weights in kept.items():
            if weights is not None:
                (staged / name).mkdir()
                save_file(weights, staged / name / _weights_file(state.model), metadata={"format": "pt"})
        with (staged / _STATE).open("wb") as file:
            torch.save(state.dump(), file)
        seal(staged)

    _publish(final, fill)
    return final


def publish_result(run: RunDirectory, write: Callable[[Path], None], *, is_full: bool = False) -> Path:
    """Publish the result of the run, which `write` puts into the directory it is given, whole or not at all."""
    result = run.model if is_full else run.adapter
    _publish(result, write)
    return result


def resume(checkpoint: Path, state: TrainingState) -> None:
    """Set model, optimizer, scheduler, counters and random state to what they were at a checkpoint.

    Raises:
        TrainerError: the checkpoint is not complete.
    """
    _check_complete(checkpoint)
    file = _weights_file(state.model)
    trained = _find(checkpoint / _TRAINED / file)
    weights = load_file(checkpoint / ADAPTER / file) if trained is None else trained
    set_weights(state.model, weights)
    state.load(torch.load(checkpoint / _STATE, weights_only=True, map_location="cpu"))
    if state.keeps_best:
        state.best_weights = weights if state.is_best else _find(checkpoint / _BEST / file)


def find_beginning(checkpoint: Path) -> dict[str, Tensor] | None:
    """What PiSSA took out of the base when the run began; None if it took nothing.

    Raises:
        TrainerError: the checkpoint is not complete.
    """
    _check_complete(checkpoint)
    return _find(checkpoint / _BEGINNING / ADAPTER_WEIGHTS)


def return_to_best(state: TrainingState) -> int:
    """Give the model the weights of the best step, where they were kept; the step that it then is of."""
    if state.best is None or state.best_weights is None:
        return state.step
    set_weights(state.model, state.best_weights)
    return state.best.step


def start_from(adapter: Path, model: Any) -> None:
    """Give a fresh adapter the weights of another one of the same shape.

    Raises:
        TrainerError: it is not of the same shape, or its files are damaged.
    """
    try:
        weights = load_file(adapter / ADAPTER_WEIGHTS)
        expected = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
        if {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise TrainerError("The fine-tuned model's adapter does not fit the base model as it is now.")
        load_adapter(model, weights)
    except (OSError, SafetensorError) as error:
        raise TrainerError("The files of the fine-tuned model to start from are damaged.") from error


def prune(
    run: RunDirectory, *, ends_epoch: Callable[[int], bool], best_step: int | None, are_published: bool = True
) -> None:
    """Delete all but the checkpoints of the last three epochs, the best one and the newest one.

    Where they are not published, nobody wants any but the newest; the best weights are in that one, too.
    """
    found = list_checkpoints(run.checkpoints)
    epochs = [path for path in found if ends_epoch(step_of(path) or 0)]
    kept = (
        {*epochs[-_KEPT_EPOCHS:], *(path for path in found if step_of(path) == best_step)} if are_published else set()
    )
    for path in found:
        if path not in {*kept, *found[-1:]}:
            # A directory that is being deleted must not look like a checkpoint.
            doomed = path.with_name(_STAGED + path.name)
            path.rename(doomed)
            shutil.rmtree(doomed)


def _check_complete(checkpoint: Path) -> None:
    if not is_complete(checkpoint):
        raise TrainerError("The checkpoint to resume from is damaged. Resume from an earlier one.")


def _find(file: Path) -> dict[str, Tensor] | None:
    return load_file(file) if file.exists() else None


def _weights_file(model: Any) -> str:
    return ADAPTER_WEIGHTS if is_adapter(model) else WEIGHTS


def _publish(final: Path, fill: Callable[[Path], None]) -> None:
    staged = final.with_name(_STAGED + final.name)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        fill(staged)
        publish_directory(staged, final)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)  # on a full disk, its room is what the last event needs
        raise
