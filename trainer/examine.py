"""`python -m trainer examine`: an adapter that was made elsewhere, loaded onto its base; its golden samples are taken.

In 32-bit floats, which every engine's own format is a rounding of.
"""

import math
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from trainer.base_model import load_base_model
from trainer.contract.examine import ExamineReport, ExamineSpec
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples, build_golden_samples
from trainer.contract.run_directory import RunDirectory, write_atomically
from trainer.failures import AdapterUnfit
from trainer.golden_samples import build_prompts, golden_samples_of, logits_of, sample, score
from trainer.tokenizer import load_tokenizer

_WEIGHTS = "adapter_model.safetensors"


def examine(directory: RunDirectory, spec: ExamineSpec) -> ExamineReport:
    """Raises:
    BaseModelUnavailable.
    AdapterUnfit: it does not fit the base, or does nothing to it.
    """
    torch.set_num_threads(spec.threads)
    base = load_base_model(spec.base_model, "cpu", quantization=spec.quantization)
    n_base = base.num_parameters()  # of packed ones, too
    model = _attach(base, spec.adapter)
    golden = _take_samples(model, spec)
    if golden.base_gap == 0:
        raise AdapterUnfit("The adapter changes nothing of what the base model says.")
    write_atomically(directory.root / GOLDEN_SAMPLES, golden.model_dump_json(indent=1).encode() + b"\n")
    return ExamineReport(
        base_parameters=n_base,
        adapter_parameters=sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name),
        base_gap=golden.base_gap,
    )


def _take_samples(model: Any, spec: ExamineSpec) -> GoldenSamples:
    prompts = build_prompts(load_tokenizer(spec.base_model), context_length_tokens=spec.context_length_tokens)
    tokens_SL = sample(model, prompts)
    of_adapter = score(logits_of(model, tokens_SL), tokens_SL, prompts.n_sampled)
    with model.disable_adapter():
        of_base = score(logits_of(model, tokens_SL), tokens_SL, prompts.n_sampled)
    if not all(math.isfinite(value) for row in (*of_adapter, *of_base) for value in row):
        raise AdapterUnfit("With the adapter, the base model's output holds numbers that are not finite.")
    samples = golden_samples_of(tokens_SL, prompts.n_sampled, of_adapter, of_base)
    return build_golden_samples(samples, dtype="float32", quantization=spec.quantization)


def _attach(base: Any, adapter: Path) -> Any:
    """PEFT passes over tensors that it has no place for, and invents those that are missing: here neither may be."""
    try:
        config = LoraConfig.from_pretrained(str(adapter))
        model = get_peft_model(base, config, autocast_adapter_dtype=False)
        loaded: Any = set_peft_model_state_dict(model, load_file(adapter / _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise _misfit("PEFT cannot load it onto the base model") from error
    without_place = loaded.unexpected_keys
    missing = [name for name in loaded.missing_keys if ".lora_" in name]
    if without_place:
        raise _misfit(f"the base model has no module for {_shown(without_place)}")
    if missing:
        raise _misfit(f"it has no weights for {_shown(missing)}")
    return model.eval()


def _misfit(reason: str) -> AdapterUnfit:
    return AdapterUnfit(
        f"The adapter does not fit the base model: {reason}. Import it for the base model that it was trained on."
    )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][:200]}{more}"
