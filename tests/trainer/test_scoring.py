"""The loss of a step does not depend on how it is computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def model(base: Path) -> Any:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from trainer.base_model import attach_lora, load_base_model
    from trainer.contract.spec import BaseModelSource, LoraSettings

    plain = load_base_model(BaseModelSource(source=str(base)), "cpu")
    add_fused_lm_head(plain, outputs=("log_probs", "is_top1"))
    lora = LoraSettings(rank=4, alpha=8, dropout=0, target_modules="all-linear")
    model = attach_lora(plain, lora, seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def make_examples() -> list[Any]:
    from trainer.dataset import TokenizedExample

    random = np.random.default_rng(3)
    lengths = [5, 60, 17, 33, 18]
    masks = [random.random(length) < 0.4 for length in lengths]
    for mask in masks:
        mask[0], mask[-1] = False, True
    return [
        TokenizedExample(random.integers(3, 300, length).astype(np.int32), mask)
        for length, mask in zip(lengths, masks, strict=True)
    ]


def loss_and_gradient(model: Any, micro_batches: list[Any], score: Any) -> tuple[float, Any]:
    import torch

    model.zero_grad()
    loss, n_right, n_tokens = 0.0, 0, 0
    for micro_batch in micro_batches:
        scores = score(model, micro_batch)
        scores.loss_sum.backward()
        loss += scores.loss_sum.item()
        n_right += int(scores.n_right)
        n_tokens += int(scores.n_tokens)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return loss + n_right / 1000 + n_tokens, gradient.clone()


def test_every_layout_and_both_output_heads_give_the_same_loss_and_gradient(model: Any) -> None:
    import torch

    from trainer.scoring import pad, score_fused, score_labelled

    examples = make_examples()
    layouts = [
        [pad([example]) for example in examples],  # no padding at all
        [pad(examples)],
        [pad(examples[:2]), pad(examples[2:])],
    ]
    results = [loss_and_gradient(model, layout, score) for layout in layouts for score in (score_fused, score_labelled)]
    loss, gradient = results[0]
    for other_loss, other_gradient in results[1:]:
        assert other_loss == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(other_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_lora_touches_every_linear_layer_but_the_output_head(model: Any) -> None:
    assert model.peft_config["default"].target_modules == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)
