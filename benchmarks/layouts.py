"""Rectangles of similar length against packed rows: one step of training on the demo model, in tokens a second."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_ROUNDS = 7
_BUDGET_TOKENS = 4096
_ROWS_TOKENS = (256, 512, 1024, 2048)
_BATCH = 16
_DEMO_MODEL = Path(__file__).resolve().parents[1] / "examples" / "demo_model"


def main() -> None:
    model = _build_model()
    print(f"{'tokens a second, padding not counted':44}" + "".join(f"{name:>14}" for name in _layouts([])))
    for name, lengths in (("16 examples of 20 to 400 tokens", _mixed()), ("16 examples of 48 to 56 tokens", _even())):
        speeds = measure(model, lengths)
        print(f"{name:44}" + "".join(f"{speed:14.0f}" for speed in speeds))


def measure(model: Any, lengths: Sequence[int]) -> list[float]:
    """The best of alternating rounds of each layout: whatever disturbs one disturbs all."""
    steps = [make() for make in _layouts(lengths).values()]
    rounds = [[_time(model, step) for step in steps] for _ in range(_ROUNDS)]
    return [sum(lengths) / min(times) for times in zip(*rounds, strict=True)]


def _layouts(lengths: Sequence[int]) -> dict[str, Callable[[], list[Any]]]:
    from trainer.layout import fill_rows, lay_out
    from trainer.scoring import pack, pad

    examples = list(_examples(lengths))

    def rectangles() -> list[Any]:
        groups = lay_out(lengths, budget_tokens=_BUDGET_TOKENS)
        return [pad([examples[index] for index in group]) for group in groups]

    def rows(row_tokens: int) -> list[Any]:
        groups = fill_rows(lengths, row_tokens=row_tokens)
        return [pack([examples[index] for index in group]) for group in groups]

    found: dict[str, Callable[[], list[Any]]] = {"rectangles": rectangles}
    for row_tokens in _ROWS_TOKENS:
        found[f"rows of {row_tokens}"] = lambda row_tokens=row_tokens: rows(row_tokens)  # type: ignore[misc]
    return found


def _examples(lengths: Sequence[int]) -> Iterator[Any]:
    import numpy as np

    from trainer.dataset import TokenizedExample

    random = np.random.default_rng(3)
    for length in lengths:
        trained_L = np.arange(length) >= length * 2 // 3
        yield TokenizedExample(random.integers(10, 2000, length).astype(np.int32), trained_L)


def _mixed() -> list[int]:
    import numpy as np

    return [int(length) for length in np.random.default_rng(1).integers(20, 400, _BATCH)]


def _even() -> list[int]:
    return [48 + index % 9 for index in range(_BATCH)]


def _build_model() -> Any:
    import torch

    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.contract.spec import BaseModelSource, LoraSettings

    torch.set_num_threads(1)
    lora = LoraSettings(rank=16, alpha=32, dropout=0, target_modules="all-linear")
    return attach_lora(load_base_model(BaseModelSource(source=str(_DEMO_MODEL)), "cpu"), lora, seed=1).train()


def _time(model: Any, micro_batches: list[Any]) -> float:
    from trainer.scoring import score

    start = time.process_time()
    for micro_batch in micro_batches:
        score(model, micro_batch).loss_sum.backward()
    return time.process_time() - start
