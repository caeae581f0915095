"""Load the base model, and count its weights."""

import json
import logging
import struct
from math import prod
from pathlib import Path
from typing import Any

from trainer.contract.spec import BaseModelSource, Quantization
from trainer.environment import is_local
from trainer.failures import BaseModelUnavailable


def load_base_model(
    source: BaseModelSource, device: str, *, quantization: Quantization | None = None, is_trained: bool = False
) -> Any:
    """Load the weights, in the type that the device computes in.

    Weights that are trained themselves are float32 everywhere: in 16 bits most steps would be rounded away.
    With `quantization` the linear layers but the output head are kept in 4 or 8 bits, and compute in that type. A base
    whose own files are quantised is kept as they are.

    Raises:
        BaseModelUnavailable: there are no safetensors weights of a causal language model there.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if computes_in_bfloat16(device) and not is_trained else torch.float32
    quantized = {}
    if quantization is not None:
        config = _nf4(dtype) if quantization == "nf4" else _int8()
        quantized = {"quantization_config": config, "device_map": {"": device}}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.source,
            revision=source.revision,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=is_local(source),
            **quantized,
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BaseModelUnavailable("The weights of the base model could not be loaded.") from error
    return _keep_unpacked(model) if getattr(model, "is_quantized", False) else model.to(device)


def computes_in_bfloat16(device: str) -> bool:
    """Whether the device has bfloat16 arithmetic of its own.

    An older GPU trains in float32: float16 needs losses to be scaled, and leaves out the steps that overflow. On a CPU
    float32 is the faster one.
    """
    import torch

    return device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)


def _keep_unpacked(model: Any) -> Any:
    """On a CPU, bitsandbytes would repack and round the weights in the first validation, in the middle of training."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _nf4(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _int8() -> Any:
    """LLM.int8: of inputs with outliers, those columns are multiplied unquantised."""
    from transformers import BitsAndBytesConfig

    # On a CPU it says of every layer at every step that inputs become float16 while they are quantised.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]


def count_parameters(source: BaseModelSource) -> int | None:
    """The number of weights in the base model's safetensors files, from their headers alone; None if unknown.

    Tied weights count once, as they are stored once.

    Raises:
        BaseModelUnavailable: the base model is a directory without such files, or they are damaged.
    """
    if is_local(source):
        return _count_local(Path(source.source))
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, OfflineModeIsEnabled

    try:
        counts = get_safetensors_metadata(source.source, revision=source.revision).parameter_count
    except (HfHubHTTPError, NotASafetensorsRepoError, OfflineModeIsEnabled, OSError):
        return None
    return sum(counts.values()) or None


def _count_local(directory: Path) -> int:
    try:
        count = sum(_count_in(path) for path in _weight_files(directory))
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise BaseModelUnavailable("The weights of the base model could not be read.") from error
    if count == 0:
        raise BaseModelUnavailable("The base model has no weights in safetensors form.")
    return count


def _weight_files(directory: Path) -> list[Path]:
    """Without those in Mistral's own format, which hold the same weights once more."""
    files = list(directory.glob("*.safetensors"))
    return [file for file in files if not file.name.startswith("consolidated")] or files


def _count_in(path: Path) -> int:
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
