"""A small random embedding model, with the tokenizer of the demo model."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from tests.foreign_adapters import DEMO

CONTEXT = 128
ROWS = 2040  # fewer than the tokenizer has tokens
WIDTH = 64


def write_embedder(directory: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = BertConfig(vocab_size=ROWS, max_position_embeddings=CONTEXT, **sizes)
    config.matryoshka_dimensions = [16, WIDTH]
    BertModel(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(DEMO).save_pretrained(directory)
    return directory
