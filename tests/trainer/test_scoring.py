"""The loss of a step does not depend on how it is computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer_runs import ROOT, make_run, make_spec, progress, train_here

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def model(base: Path) -> Any:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
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

    from trainer.scoring import pack, pad, score_fused, score_labelled

    examples = make_examples()
    layouts = [
        [pad([example]) for example in examples],  # no padding at all
        [pad(examples)],
        [pad(examples[:2]), pad(examples[2:])],
        [pack(examples)],
        [pack(examples[:3]), pack(examples[3:])],
    ]
    results = [loss_and_gradient(model, layout, score) for layout in layouts for score in (score_fused, score_labelled)]
    loss, gradient = results[0]
    for other_loss, other_gradient in results[1:]:
        assert other_loss == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(other_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_a_packed_example_has_the_logits_and_the_loss_it_has_alone() -> None:
    """On the demo model, in float32, to 1e-5 of the largest logit: not one token of the others is seen."""
    import torch

    from trainer.base_model import load_base_model
    from trainer.contract.spec import BaseModelSource
    from trainer.scoring import pack

    demo = load_base_model(BaseModelSource(source=str(ROOT / "examples" / "demo_model")), "cpu").eval()
    examples = make_examples()
    row = pack(examples)
    with torch.no_grad():
        packed = demo(input_ids=row["input_ids"], position_ids=row["position_ids"], use_cache=False).logits[0]
        start = 0
        for example in examples:
            ids = torch.tensor(example.input_ids_L, dtype=torch.long)[None]
            alone = demo(input_ids=ids, use_cache=False).logits[0]
            end = start + len(example.input_ids_L)
            assert (packed[start:end] - alone).abs().max() <= 1e-5 * alone.abs().max()
            targets = torch.where(torch.tensor(example.trained_L), ids[0], -100)[1:]
            losses = [torch.nn.functional.cross_entropy(of[:-1], targets) for of in (packed[start:end], alone)]
            torch.testing.assert_close(*losses, rtol=0, atol=1e-5)
            start = end


class Mixing:
    """A model that hears nothing of positions, so that a whole row is one text to it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**{name: value for name, value in inputs.items() if name != "position_ids"})


@pytest.mark.parametrize("n_examples", [1, 5])
def test_a_model_that_mixes_the_examples_of_a_row_is_found_out(model: Any, n_examples: int) -> None:
    from trainer.packing import keeps_apart

    examples = make_examples()[:n_examples]
    assert keeps_apart(model, examples)
    assert not keeps_apart(Mixing(model), examples)


def test_a_stop_token_that_is_the_pad_token_too_is_trained_in_every_layout(base: Path, tmp_path: Path) -> None:
    """Labels made by comparing with the pad token would leave it out, and the model would never learn to stop."""
    from trainer.dataset import tokenize_files
    from trainer.scoring import IGNORED, pack, pad
    from trainer.tokenizer import load_chat_tokenizer

    run = make_run(tmp_path / "run", make_spec(base), n_examples=5)
    chat = load_chat_tokenizer(run.read_spec().base_model)
    stop = chat.tokenizer.eos_token_id
    assert chat.tokenizer.pad_token_id == stop
    examples = tokenize_files(run, chat, context_length_tokens=256)[0]
    for labels in (pad(examples)["labels"], pack(examples)["labels"]):
        assert int((labels == stop).sum()) == len(examples)  # one answer each
    lengths = [len(example.input_ids_L) for example in examples]
    for row, length in zip(pad(examples)["labels"], lengths, strict=True):
        assert (row[length:] == IGNORED).all()


def test_the_steps_of_a_run_have_the_same_losses_whichever_layout(base: Path, tmp_path: Path) -> None:
    lora = make_spec(base).lora.model_copy(update={"dropout": 0.0})
    rectangles, rows = (
        train_here(
            make_run(
                tmp_path / str(packing),
                make_spec(base, lora=lora, packing=packing, method={"n_epochs": 2}),
                n_validation=9,
            )
        )
        for packing in (False, True)
    )
    assert len(progress(rows)) == len(progress(rectangles)) == 14
    for one, other in zip(progress(rectangles), progress(rows), strict=True):
        assert one.metrics.model_dump() == pytest.approx(other.metrics.model_dump(), abs=1e-5)
        assert one.trained_tokens == other.trained_tokens
    assert (rows.adapter / "adapter_model.safetensors").read_bytes() != (
        rectangles.adapter / "adapter_model.safetensors"
    ).read_bytes()  # it was computed in another way


def test_lora_touches_every_linear_layer_but_the_output_head(model: Any) -> None:
    assert model.peft_config["default"].target_modules == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)
