"""Bases of random weights in the shapes of published models, with the demo model's tokenizer; no hub is asked."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo_model"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
_TOKENS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}  # the demo model's
_TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 4096}
_TINY_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
# A process of its own: what it took of the GPU is free again when it ends.
_MAKE = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
sizes, directory = json.loads(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained(directory, max_shard_size="5GB")
"""


@dataclass(frozen=True)
class Base:
    title: str
    config: Mapping[str, Any]

    @property
    def disk_bytes(self) -> int:
        """About what its weights take, in 16 bits."""
        sizes = self.config
        hidden, layers = sizes["hidden_size"], sizes["num_hidden_layers"]
        heads = sizes["num_attention_heads"] + sizes["num_key_value_heads"]
        layer = 3 * hidden * sizes["intermediate_size"] + 2 * hidden * heads * sizes["head_dim"]
        return int(2 * (layers * layer + 2 * sizes["vocab_size"] * hidden))

    def make(self, directory: Path) -> None:
        command = [sys.executable, "-c", _MAKE, json.dumps({**self.config, **_TOKENS}), str(directory)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # a bar of progress
        for name in _TOKENIZER:
            shutil.copy(DEMO / name, directory)

    def tiny(self) -> "Base":
        """The same kind in two layers, for a dry run."""
        return Base(f"{self.title}, tiny", {**self.config, **_TINY, **_TINY_HEADS})


LLAMA = Base(
    "Llama 3.1 8B",
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": False,
    },
)
QWEN = Base(
    "Qwen 3 8B",
    {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "tie_word_embeddings": False,
    },
)
