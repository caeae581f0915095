"""What the libraries must be told before they are imported."""

import json
import os
import sys
import time
from pathlib import Path

from trainer.contract.spec import BaseModelSource

STARTED = time.monotonic()  # of this process, before anything slow is imported

_QUIET = {
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def prepare(base_model: BaseModelSource, *, uses_bitsandbytes: bool = False) -> None:
    """Set the environment of this process: quiet, and without network where the base model is a directory."""
    os.environ.update(_QUIET)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # TRL trains on one GPU to a process, and refuses to see more
    if is_local(base_model):
        os.environ.update(_OFFLINE)
    if not uses_bitsandbytes and not _is_stored_quantised(base_model):
        # Without this, PEFT imports bitsandbytes for nothing, which takes a second and prints a warning.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def _is_stored_quantised(base_model: BaseModelSource) -> bool:
    """Whether the base model's own files are; those of a repository that is not here yet are taken not to be."""
    config = _find_config(base_model)
    try:
        return config is not None and bool(json.loads(config.read_bytes()).get("quantization_config"))
    except (OSError, ValueError, AttributeError):
        return False


def _find_config(base_model: BaseModelSource) -> Path | None:
    if is_local(base_model):
        return Path(base_model.source) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base_model.source, "config.json", revision=base_model.revision)
    return Path(found) if isinstance(found, str) else None


def is_local(base_model: BaseModelSource) -> bool:
    """Whether the base model is a directory, rather than the name of a repository."""
    return Path(base_model.source).is_dir() or Path(base_model.source).is_absolute()
