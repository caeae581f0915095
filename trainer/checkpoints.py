"""Save what a run needs to go on, and the adapter as it is served; prune; resume."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load, save

from trainer.base_model import copy_adapter
from trainer.contract.checkpoint import ADAPTER, is_complete, list_checkpoints, publish_directory, seal, step_of
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.failures import LossNotFinite, TrainerError
from trainer.state import TrainingState

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_KEPT_EPOCHS = 3
_STATE = "state.pt"
_BEST = "best"  # inside a checkpoint directory: the adapter of the best step so far, where that is an earlier one
_STAGED = ".staged-"  # a prefix that no complete directory has


def save_checkpoint(run: RunDirectory, state: TrainingState) -> Path:
    """Save after the step that is done; the directory is complete when this returns.

    Raises:
        LossNotFinite: the adapter holds a number that is not finite.
    """
    final = run.checkpoint(state.step)
    run.checkpoints.mkdir(exist_ok=True)

    def fill(staged: Path) -> None:
        write_adapter(staged / ADAPTER, state.model, step=state.step)
        if state.best_weights is not None and not state.is_best:
            (staged / _BEST).mkdir()
            (staged / _BEST / ADAPTER_WEIGHTS).write_bytes(_pack(state.best_weights))
        buffer = io.BytesIO()
        torch.save(state.dump(), buffer)
        (staged / _STATE).write_bytes(buffer.getbuffer())
        seal(staged)

    _publish(final, fill)
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
            (staged / GOLDEN_SAMPLES).write_text(samples.model_dump_json(indent=1) + "\n")

    _publish(run.adapter, fill)


def resume(checkpoint: Path, state: TrainingState) -> None:
    """Set model, optimizer, scheduler, counters and random state to what they were at a checkpoint.

    Raises:
        TrainerError: the checkpoint is not complete.
    """
    if not is_complete(checkpoint):
        raise TrainerError("The checkpoint to resume from is damaged. Resume from an earlier one.")
    adapter = load((checkpoint / ADAPTER / ADAPTER_WEIGHTS).read_bytes())
    set_peft_model_state_dict(state.model, adapter)
    state.load(torch.load(checkpoint / _STATE, weights_only=True, map_location="cpu"))
    if not state.keeps_best:
        return
    if state.is_best:
        state.best_weights = adapter
    elif (checkpoint / _BEST).exists():
        state.best_weights = load((checkpoint / _BEST / ADAPTER_WEIGHTS).read_bytes())


def return_to_best(state: TrainingState) -> int:
    """Give the model the weights of the best step, where they were kept; the step that it then is of."""
    if state.best is None or state.best_weights is None:
        return state.step
    set_peft_model_state_dict(state.model, state.best_weights)
    return state.best.step


def start_from(adapter: Path, model: Any) -> None:
    """Give a fresh adapter the weights of another one of the same shape.

    Raises:
        TrainerError: it is not of the same shape, or its files are damaged.
    """
    try:
        weights = load((adapter / ADAPTER_WEIGHTS).read_bytes())
        expected = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
        if {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise TrainerError("The fine-tuned model's adapter does not fit the base model as it is now.")
        set_peft_model_state_dict(model, weights)
    except (OSError, SafetensorError) as error:
        raise TrainerError("The files of the fine-tuned model to start from are damaged.") from error


def prune(run: RunDirectory, *, ends_epoch: Callable[[int], bool], best_step: int | None) -> None:
    """Delete all but the checkpoints of the last three epochs, the best one and the newest one."""
    found = list_checkpoints(run.checkpoints)
    epochs = [path for path in found if ends_epoch(step_of(path) or 0)]
    kept = {*epochs[-_KEPT_EPOCHS:], *found[-1:], *(path for path in found if step_of(path) == best_step)}
    for path in found:
        if path not in kept:
            # A directory that is being deleted must not look like a checkpoint.
            doomed = path.with_name(_STAGED + path.name)
            path.rename(doomed)
            shutil.rmtree(doomed)


def write_adapter(directory: Path, model: Any, *, step: int) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; the same adapter gives the same bytes.

    Raises:
        LossNotFinite: a number in it is not finite.
    """
    tensors = copy_adapter(model)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise LossNotFinite("adapter", step)
    directory.mkdir(exist_ok=True)
    (directory / ADAPTER_WEIGHTS).write_bytes(_pack(tensors))
    (directory / ADAPTER_CONFIG).write_text(json.dumps(_adapter_config(model), indent=2) + "\n")


def _pack(tensors: dict[str, Any]) -> bytes:
    packed: bytes = save(tensors, metadata={"format": "pt"})
    return packed


def _adapter_config(model: Any) -> dict[str, Any]:
    """PEFT's own, without the place of the base model on this machine, and with sets in a fixed order."""
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=None, inference_mode=True)
    return {key: sorted(value) if isinstance(value, set) else _plain(value) for key, value in sorted(config.items())}


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # enumerations


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
