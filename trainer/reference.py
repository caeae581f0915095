"""What the model gave to every answer before the first step of its job: computed once, kept beside the run, sealed.

A later attempt takes it over from the run whose checkpoint it goes on from; nothing has to hold a second model.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainer.base_model import computes_in_bfloat16
from trainer.contract.checkpoint import is_complete, publish_directory, seal
from trainer.contract.run_directory import RunDirectory, write_atomically
from trainer.contract.spec import TrainingSpec
from trainer.dataset import TokenizedExample
from trainer.fused_head import give_fused_head
from trainer.layout import lay_out
from trainer.scoring import log_probabilities, pad
from trainer.weights import is_adapter

_KEY = "key"
_AT_ONCE = 256  # sequences
_OF_AN_ATTEMPT = {"attempt", "start_from", "resume_from", "checkpoint_every_steps", "packing", "threads", "memory"}

Sequences = tuple[int, Callable[[int], TokenizedExample]]  # how many, and each by its number
Reference = Mapping[str, npt.NDArray[np.float32]]  # log-probabilities in nats, by name


def find_reference(run: RunDirectory, spec: TrainingSpec) -> Reference | None:
    """That of this run, or of the one whose checkpoint it resumes from; None if there is none that is whole."""
    roots = [run.root] if spec.resume_from is None else [run.root, spec.resume_from.parents[1]]
    for root in roots:
        directory = RunDirectory(root).reference
        if is_complete(directory) and (directory / _KEY).read_text() == _key(spec):
            if directory != run.reference:
                shutil.rmtree(run.reference, ignore_errors=True)
                shutil.copytree(directory, run.reference, copy_function=_link)
            return {path.stem: np.fromfile(path, dtype=np.float32) for path in sorted(run.reference.glob("*.float32"))}
    return None


def compute_reference(
    run: RunDirectory, spec: TrainingSpec, model: Any, wanted: Mapping[str, Sequences], *, check: Callable[[], None]
) -> Reference:
    """Score everything that is wanted by the model as it is now, and keep it. `check` raises if the run is to stop."""
    model.eval()
    give_fused_head(model)
    budget_tokens = spec.memory.micro_batch_tokens
    found = {
        name: _score(model, sequences, budget_tokens=budget_tokens, check=check) for name, sequences in wanted.items()
    }
    staged = run.reference.with_name(f".staged-{run.reference.name}")
    for path in (staged, run.reference):
        shutil.rmtree(path, ignore_errors=True)
    staged.mkdir()
    for name, values in found.items():
        (staged / f"{name}.float32").write_bytes(values.tobytes())
    write_atomically(staged / _KEY, _key(spec).encode())
    seal(staged)
    publish_directory(staged, run.reference)
    return found


def _score(
    model: Any, sequences: Sequences, *, budget_tokens: int, check: Callable[[], None]
) -> npt.NDArray[np.float32]:
    n, get = sequences
    values_N = np.empty(n, dtype=np.float32)
    for start in range(0, n, _AT_ONCE):
        portion = [get(number) for number in range(start, min(n, start + _AT_ONCE))]
        for group in lay_out([len(sequence.input_ids_L) for sequence in portion], budget_tokens=budget_tokens):
            check()
            micro_batch = pad([portion[index] for index in group])
            with torch.no_grad(), _arithmetic_of_steps(model):
                moved = {name: tensor.to(model.device) for name, tensor in micro_batch.items()}
                logps_B = log_probabilities(model, moved).float().sum(1)
            values_N[[start + index for index in group]] = logps_B.cpu().numpy()
    return values_N


def _arithmetic_of_steps(model: Any) -> torch.autocast:
    """Weights that are all trained are float32, and a GPU computes with them in bfloat16, in the steps as here."""
    device = model.device.type
    is_mixed = not is_adapter(model) and computes_in_bfloat16(device)
    return torch.autocast(device, torch.bfloat16, enabled=is_mixed)


def _key(spec: TrainingSpec) -> str:
    """Of all that the numbers depend on. The adapter that a job starts from is the same in all its attempts."""
    told = spec.model_dump_json(exclude=_OF_AN_ATTEMPT)
    return hashlib.sha256(f"{told} {spec.memory.quantization}".encode()).hexdigest()


def _link(source: str, destination: str) -> None:
    Path(destination).hardlink_to(source)
