"""`python -m trainer merge`: an adapter's weights added to its base model's, checked, and saved as a model of its own.

The sum is formed in 32-bit floats over the base as it is stored, and rounded to the base's own format once, at the end.
"""

import json
import shutil
import struct
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig

from trainer.base_model import load_base_model
from trainer.contract.checkpoint import publish_directory
from trainer.contract.merge import MergeReport, MergeSpec
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.environment import is_local
from trainer.failures import BaseModelUnavailable, TrainerError
from trainer.tokenizer import load_tokenizer

_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_N_PROBES, _PROBE_TOKENS = 4, 64


def merge(directory: RunDirectory, spec: MergeSpec) -> MergeReport:
    """Write the merged model to the run directory's `merged/`; nothing is left there if it fails.

    Raises:
        TrainerError: the base or the adapter cannot be used, or the merged model does not do what the adapter does.
    """
    torch.set_num_threads(spec.threads)
    stored_type = _stored_type(spec.base_model)
    base = load_base_model(spec.base_model, "cpu")  # in 32-bit floats
    probes_BL = _probes(base)
    of_base_BLV = _logits(base, probes_BL)
    adapted = _load_adapter(base, spec.adapter)
    expected_BLV = _logits(adapted, probes_BL)
    merged = adapted.merge_and_unload(safe_merge=True)
    error = _largest_difference(_logits(merged, probes_BL), expected_BLV)
    if not error <= spec.tolerance:
        raise TrainerError(
            f"The merged model's logits differ from the adapter's by {error:.2g}, and {spec.tolerance:.2g} is allowed. "
            "This adapter cannot be merged; serve it beside its base."
        )
    n_parameters = sum(parameter.numel() for parameter in merged.parameters())
    staged = directory.root / "merged.staged"
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _save(merged.to(stored_type), staged, spec.base_model)
        reloaded_BLV = _logits(_reload(staged, merged), probes_BL)
        publish_directory(staged, directory.merged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return MergeReport(
        dtype=str(stored_type).removeprefix("torch."),
        parameters=n_parameters,
        n_probe_tokens=probes_BL.numel(),
        adapter_effect=_largest_difference(of_base_BLV, expected_BLV),
        logit_error=error,
        rounded_logit_error=_largest_difference(reloaded_BLV, expected_BLV),
        rounded_same_choice=float((reloaded_BLV.argmax(-1) == expected_BLV.argmax(-1)).float().mean()),
    )


def _load_adapter(base: Any, adapter: Path) -> Any:
    try:
        return PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainerError("The adapter's files are damaged, or do not fit the base model as it is now.") from error


def _stored_type(source: BaseModelSource) -> torch.dtype:
    """The format that most of the base's weights are stored in.

    Raises:
        BaseModelUnavailable: they are quantised, or there are none.
    """
    try:
        config = AutoConfig.from_pretrained(source.source, revision=source.revision, local_files_only=is_local(source))
        counts = _count_types(Path(source.source)) if is_local(source) else Counter[str]()
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise BaseModelUnavailable("The configuration or the weights of the base model could not be read.") from error
    if getattr(config, "quantization_config", None) is not None:
        raise BaseModelUnavailable("The base model is stored quantised. Merging needs its 16-bit weights.")
    if counts:
        return _TYPES.get(counts.most_common(1)[0][0], torch.bfloat16)
    declared = getattr(config, "dtype", None)
    return declared if isinstance(declared, torch.dtype) else torch.bfloat16


def _count_types(directory: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for path in directory.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, tensor in header.items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += prod(tensor["shape"])
    return counts


def _probes(model: Any) -> Tensor:
    """Token ids that reach all over the vocabulary; the same each time."""
    length = min(_PROBE_TOKENS, getattr(model.config, "max_position_embeddings", _PROBE_TOKENS))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.config.vocab_size, (_N_PROBES, length), generator=generator)


def _logits(model: Any, probes_BL: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        logits_BLV: Tensor = model(input_ids=probes_BL).logits
    return logits_BLV.float()


def _largest_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _save(merged: Any, directory: Path, source: BaseModelSource) -> None:
    """Weights, configuration, generation configuration, tokenizer and chat template."""
    merged.save_pretrained(directory)
    tokenizer = load_tokenizer(source)
    if source.chat_template_file is not None:
        tokenizer.chat_template = source.chat_template_file.read_text(encoding="utf-8")
    tokenizer.save_pretrained(directory)


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
