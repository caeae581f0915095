"""`python -m trainer merge`: an adapter's weights added to its base model's, checked, and saved as a model of its own.

The sum is formed in 32-bit floats over the base as it is stored, and rounded to the base's own format once, at the end,
by chance, so that small changes are not lost.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from trainer.base_model import load_base_model
from trainer.contract.checkpoint import publish_directory
from trainer.contract.merge import MergeReport, MergeSpec
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.failures import TrainerError
from trainer.rounding import round_by_chance
from trainer.saved_model import (
    build_probes,
    largest_difference,
    logits,
    save_tokenizer,
    share_of_same_choice,
    stored_type,
)


def merge(directory: RunDirectory, spec: MergeSpec) -> MergeReport:
    """Write the merged model to the run directory's `merged/`; nothing is left there if it fails.

    Raises:
        TrainerError: the base or the adapter cannot be used, or the merged model does not do what the adapter does.
    """
    torch.set_num_threads(spec.threads)
    saved_type = stored_type(spec.base_model)
    base = load_base_model(spec.base_model, "cpu")  # in 32-bit floats
    probes_BL = build_probes(base)
    of_base_BLV = logits(base, probes_BL)
    adapted = _load_adapter(base, spec.adapter)
    expected_BLV = logits(adapted, probes_BL)
    merged = adapted.merge_and_unload(safe_merge=True)
    error = largest_difference(logits(merged, probes_BL), expected_BLV)
    if not error <= spec.tolerance:
        raise TrainerError(
            f"The merged model's logits differ from the adapter's by {error:.2g}, and {spec.tolerance:.2g} is allowed. "
            "This adapter cannot be merged; serve it beside its base."
        )
    n_parameters = sum(parameter.numel() for parameter in merged.parameters())
    for name, parameter in merged.named_parameters():
        parameter.data = round_by_chance(parameter.data, saved_type, name=name)
    staged = directory.root / "merged.staged"
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _save(merged.to(saved_type), staged, spec.base_model)
        reloaded_BLV = logits(_reload(staged, merged), probes_BL)
        publish_directory(staged, directory.merged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return MergeReport(
        dtype=str(saved_type).removeprefix("torch."),
        parameters=n_parameters,
        n_probe_tokens=probes_BL.numel(),
        adapter_effect=largest_difference(of_base_BLV, expected_BLV),
        logit_error=error,
        rounded_logit_error=largest_difference(reloaded_BLV, expected_BLV),
        rounded_same_choice=share_of_same_choice(reloaded_BLV, expected_BLV),
    )


def _load_adapter(base: Any, adapter: Path) -> Any:
    try:
        return PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainerError("The adapter's files are damaged, or do not fit the base model as it is now.") from error


def _save(merged: Any, directory: Path, source: BaseModelSource) -> None:
    """Weights, configuration, generation configuration, tokenizer and chat template."""
    merged.save_pretrained(directory)
    save_tokenizer(directory, source)


def _reload(directory: Path, merged: Any) -> Any:
    """Load what was saved, in 32-bit floats, and see that it is what was merged.

    Raises:
        TrainerError: a weight is not.
    """
    reloaded = load_base_model(BaseModelSource(source=str(directory)), "cpu")
    found, wanted = dict(reloaded.named_parameters()), dict(merged.named_parameters())
    same = (torch.equal(found[name].data, tensor.data.float()) for name, tensor in wanted.items())
    if found.keys() != wanted.keys() or not all(same):
        raise TrainerError("The merged model was not saved as it is. Ask the operator to look at the disk.")
    return reloaded
