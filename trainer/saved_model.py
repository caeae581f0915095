"""A model saved as a directory of its own, and held against the one in memory."""

import json
import struct
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from trainer.contract.spec import BaseModelSource
from trainer.environment import is_local
from trainer.failures import BaseModelUnavailable
from trainer.tokenizer import load_tokenizer

_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_N_PROBES, _PROBE_TOKENS = 4, 64


def stored_type(source: BaseModelSource) -> torch.dtype:
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
        raise BaseModelUnavailable("The base model is stored quantised. A model of its own needs its 16-bit weights.")
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


def build_probes(model: Any) -> Tensor:
    """Token ids that reach all over the vocabulary; the same each time."""
    length = min(_PROBE_TOKENS, getattr(model.config, "max_position_embeddings", _PROBE_TOKENS))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.config.vocab_size, (_N_PROBES, length), generator=generator)


def logits(model: Any, probes_BL: Tensor) -> Tensor:
    """In main memory, in 32-bit floats."""
    model.eval()
    with torch.no_grad():
        logits_BLV: Tensor = model(input_ids=probes_BL.to(model.device)).logits
    return logits_BLV.float().cpu()


def largest_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def share_of_same_choice(one_BLV: Tensor, other_BLV: Tensor) -> float:
    return float((one_BLV.argmax(-1) == other_BLV.argmax(-1)).float().mean())


def save_tokenizer(directory: Path, source: BaseModelSource) -> None:
    """The base's tokenizer, with the chat template that the base is used with."""
    tokenizer = load_tokenizer(source)
    if source.chat_template_file is not None:
        tokenizer.chat_template = source.chat_template_file.read_text(encoding="utf-8")
    tokenizer.save_pretrained(directory)
