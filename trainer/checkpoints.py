"""Save what a run needs to go on, and an adapter as it is served; prune; resume."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file

from trainer.contract.checkpoint import ADAPTER, MODEL, is_complete, list_checkpoints, publish_directory, seal, step_of
from trainer.contract.full_model import WEIGHTS as MODEL_WEIGHTS
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.failures import TrainerError
from trainer.state import TrainingState
from trainer.weights import check_finite, copy_weights, is_adapter, set_weights, trained_weights

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_KEPT_EPOCHS = 3
_STATE = "state.pt"
_BEST = "best"  # inside a checkpoint directory: the weights of the best step so far, where that is an earlier one
_STAGED = ".staged-"  # a prefix that no complete directory has


def save_checkpoint(run: RunDirectory, state: TrainingState) -> Path:
    """Save after the step that is done; the directory is complete when this returns.

    Raises:
        LossNotFinite: the weights hold a number that is not finite.
    """
    final = run.checkpoint(state.step)
    run.checkpoints.mkdir(exist_ok=True)

    def fill(staged: Path) -> None:
        if is_adapter(state.model):
            write_adapter(staged / ADAPTER, state.model, step=state.step)
        else:
            _write_model(staged / MODEL, state.model, step=state.step)
        if state.best_weights is not None and not state.is_best:
            (staged / _BEST).mkdir()
            _save(state.best_weights, staged / _BEST / _weights_file(state.model))
        with (staged / _STATE).open("wb") as file:
            torch.save(state.dump(), file)
        seal(staged)

    publish(final, fill)
    return final


def publish_adapter(run: RunDirectory, model: Any, *, step: int, take: Callable[[], GoldenSamples | None]) -> None:
    """Write the result of the run: the model's adapter, which is of that step, and the samples taken of it.

    Raises:
        LossNotFinite: the adapter holds a number that is not finite; nothing is published.
    """

    def fill(staged: Path) -> None:
        write_adapter(staged, model, step=step)
        samples = take()
        if samples is not None:
            write_samples(staged, samples)

    publish(run.adapter, fill)


def write_samples(directory: Path, samples: GoldenSamples) -> None:
    (directory / GOLDEN_SAMPLES).write_text(samples.model_dump_json(indent=1) + "\n")


def resume(checkpoint: Path, state: TrainingState) -> None:
    """Set model, optimizer, scheduler, counters and random state to what they were at a checkpoint.

    Raises:
        TrainerError: the checkpoint is not complete.
    """
    if not is_complete(checkpoint):
        raise TrainerError("The checkpoint to resume from is damaged. Resume from an earlier one.")
    file = _weights_file(state.model)
    weights = load_file(checkpoint / (ADAPTER if is_adapter(state.model) else MODEL) / file)
    set_weights(state.model, weights)
    state.load(torch.load(checkpoint / _STATE, weights_only=True, map_location="cpu"))
    if not state.keeps_best:
        return
    if state.is_best:
        state.best_weights = weights
    elif (checkpoint / _BEST).exists():
        state.best_weights = load_file(checkpoint / _BEST / file)


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
        weights = load((adapter / ADAPTER_WEIGHTS).read_bytes())
        expected = {name: tensor.shape for name, tensor in trained_weights(model).items()}
        if {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise TrainerError("The fine-tuned model's adapter does not fit the base model as it is now.")
        set_weights(model, weights)
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


def write_adapter(directory: Path, model: Any, *, step: int) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; the same adapter gives the same bytes.

    Raises:
        LossNotFinite: a number in it is not finite.
    """
    tensors = copy_weights(model)
    check_finite(tensors, "adapter", step=step)
    directory.mkdir(exist_ok=True)
    (directory / ADAPTER_WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    (directory / ADAPTER_CONFIG).write_text(json.dumps(_adapter_config(model), indent=2) + "\n")


def _write_model(directory: Path, model: Any, *, step: int) -> None:
    """Write all weights as they are trained, without a second copy of them in memory."""
    tensors = trained_weights(model)
    check_finite(tensors, "model", step=step)
    directory.mkdir()
    _save(tensors, directory / MODEL_WEIGHTS)


def _save(tensors: dict[str, Any], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


def _weights_file(model: Any) -> str:
    return ADAPTER_WEIGHTS if is_adapter(model) else MODEL_WEIGHTS


def _adapter_config(model: Any) -> dict[str, Any]:
    """PEFT's own, without the place of the base model on this machine, and with sets in a fixed order."""
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=None, inference_mode=True)
    return {key: sorted(value) if isinstance(value, set) else _plain(value) for key, value in sorted(config.items())}


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # enumerations


def publish(final: Path, fill: Callable[[Path], None]) -> None:
    """Have a directory filled, and give it its name when it is whole; if that fails, nothing is left of it."""
    staged = final.with_name(_STAGED + final.name)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        fill(staged)
        publish_directory(staged, final)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)  # on a full disk, its room is what the last event needs
        raise
