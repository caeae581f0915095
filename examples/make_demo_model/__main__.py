"""Make the demo base model: `python -m make_demo_model [DIRECTORY]`, from the folder `examples`, about six minutes."""

import sys
import time
from pathlib import Path

import torch
from transformers import GenerationConfig

from make_demo_model.pretraining import Recipe, pretrain
from make_demo_model.tokenizer import train_tokenizer

_HERE = Path(__file__).resolve().parent
_DEFAULT_DIRECTORY = _HERE.parent / "demo_model"


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else _DEFAULT_DIRECTORY
    torch.set_num_threads(1)  # the sums, and so the bytes, depend on the number of threads
    torch.use_deterministic_algorithms(True)
    recipe = Recipe()
    started = time.monotonic()
    tokenizer = train_tokenizer(recipe.seed)
    model = pretrain(tokenizer, recipe)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.bfloat16().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "README.md").write_bytes((_HERE / "model_card.md").read_bytes())
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters in {directory}, made in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
