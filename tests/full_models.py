"""Directories of full models without weights that mean anything."""

import hashlib
from pathlib import Path

from inference.engine import AdapterRef
from inference.vllm.own_weights import WEIGHTS
from tests.adapter_files import write_tensors
from trainer.contract.full_model import FULL_MODEL_REPORT, FullModelReport


def write_full_model(directory: Path, *, number: int = 1) -> Path:
    """As a run leaves it; `number` tells its weights from others."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tensors(directory / WEIGHTS, {"model.embed_tokens.weight": ("F32", [2, 4], bytes([number]) * 32)})
    (directory / "config.json").write_text('{"model_type": "qwen3"}')
    report = FullModelReport(
        dtype="bfloat16", parameters=8, n_probe_tokens=256, logit_error=0.1, same_choice=0.99, logprob_gap=0.002
    )
    (directory / FULL_MODEL_REPORT).write_text(report.model_dump_json())
    return directory


def refer_to_full(directory: Path, name: str, base_model: str) -> AdapterRef:
    sha256 = hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()
    return AdapterRef(name, base_model, directory, 0, sha256, is_full=True)
