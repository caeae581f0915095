"""Which base models are served in a quantised form, and which cannot be: said before anything starts."""

from pathlib import Path

from inference.base_shapes import stored_in
from inference.tensor_file import TensorFileDamaged, read_header
from server.base_models import BaseModelEntry, BaseModels, BaseModelsInvalid
from server.record.base_identity import find_directory

_PLUGIN_MISSING = (
    "vLLM has no bitsandbytes here, which is the package vllm-bnb-plugin: run `make install`, or leave "
    "serve_quantized out"
)
_STORED_QUANTISED = "its own files are quantised ({}), and vLLM serves them as they are: leave serve_quantized out"
_EXPERTS = (
    "it is a mixture of experts, which vLLM would quantise and the trainer leaves as they are, so that nothing would "
    "be served on what it was trained on: leave serve_quantized out"
)


def is_quantised(entry: BaseModelEntry) -> bool:
    """Whether its engine computes with quantised weights, its own or made of them."""
    directory = find_directory(entry)
    return entry.serve_quantized is not None or (directory is not None and stored_in(directory) is not None)


def refuse_what_cannot_be_quantised(base_models: BaseModels, *, has_quantisation: bool) -> None:
    """Of a base that is not here yet, what its files are shows when its engine starts.

    Raises:
        BaseModelsInvalid: a base is to be served in a form that its engine cannot make of it.
    """
    for entry in base_models.entries:
        reason = None if entry.serve_quantized is None else _reason_against(entry, has_quantisation)
        if reason is not None:
            raise BaseModelsInvalid(f"base_model {entry.name!r}: serve_quantized cannot be had: {reason}")


def _reason_against(entry: BaseModelEntry, has_quantisation: bool) -> str | None:
    if not has_quantisation:
        return _PLUGIN_MISSING
    directory = find_directory(entry)
    if directory is None:
        return None
    form = stored_in(directory)
    if form is not None:
        return _STORED_QUANTISED.format(form)
    return _EXPERTS if _has_experts(directory) else None


def _has_experts(directory: Path) -> bool:
    try:
        return any(".experts." in name for path in directory.glob("*.safetensors") for name in read_header(path))
    except (OSError, TensorFileDamaged):
        return False
