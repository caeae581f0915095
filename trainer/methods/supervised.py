"""TRL's SFTTrainer for one run: each item of its dataset is a whole step, laid out by us.

So the step count is exactly n_epochs times ceil(examples / batch_size), the loss is a mean over the tokens of the step
whatever its micro-batches are, and a resumed run simply has fewer items.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from trainer.base_model import computes_in_bfloat16
from trainer.dataset import TokenizedExample
from trainer.failures import LossNotFinite
from trainer.layout import ROW_TOKENS, fill_rows, lay_out
from trainer.ongoing import OngoingRun
from trainer.order import StepOrder
from trainer.scoring import TokenTally, pack, pad, score


class StepwiseSFTTrainer(SFTTrainer):
    """SFTTrainer whose batches are lists of micro-batches, with a loss weighted by tokens over all of them."""

    def __init__(self, run: OngoingRun, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._run = run
        self._is_first_step = True

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG002 - TRL's count is of its own batches
        """Forward and backward for every micro-batch of one step."""
        if self._is_first_step:  # the data loader has drawn a number since the state was loaded
            self._run.state.restore_random_state()
            self._is_first_step = False
        tally = TokenTally(n_processed_tokens=inputs["n_tokens"])
        self._run.state.tally = tally
        losses = []
        for micro_batch in inputs["micro_batches"]:
            self._run.interruption.check()
            with self._run.meter.micro_batch(micro_batch["input_ids"].numel()):
                loss = super().training_step(model, micro_batch, inputs["n_trained_tokens"])  # type: ignore[no-untyped-call]
            losses.append(loss)
        if not math.isfinite(tally.loss_sum):
            raise LossNotFinite("training loss", self._run.state.step + 1)
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The part of this micro-batch in the mean loss of the step."""
        if return_outputs:
            raise NotImplementedError("only the loss is computed")
        scores = score(model, inputs)
        self._run.state.tally.add(scores)
        share: Tensor = scores.loss_sum / num_items_in_batch
        return share

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002 - TRL's signature
        return 0  # an estimate nobody reads


def build(run: OngoingRun, tokenizer: Any, examples: Sequence[TokenizedExample]) -> StepwiseSFTTrainer:
    """Set up TRL to train the steps that are left."""
    device = run.state.model.device.type
    trainer = StepwiseSFTTrainer(
        run,
        model=run.state.model,
        args=_arguments(run, on_gpu=device != "cpu"),
        train_dataset=Dataset.from_dict({"step": list(run.steps_left)}),
        data_collator=partial(
            collate,
            examples=examples,
            order=run.order,
            budget_tokens=run.spec.memory.micro_batch_tokens,
            row_tokens=ROW_TOKENS[device] if run.packs else None,
        ),
        processing_class=tokenizer,
        optimizers=(run.state.optimizer, run.state.scheduler),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def collate(
    items: list[dict[str, int]],
    *,
    examples: Sequence[TokenizedExample],
    order: StepOrder,
    budget_tokens: int,
    row_tokens: int | None,
) -> dict[str, Any]:
    """Make the micro-batches of one step: rows of at most `row_tokens`, or rectangles where that is None."""
    (item,) = items
    chosen = [examples[index] for index in order.examples_of(item["step"])]
    lengths = [len(example.input_ids_L) for example in chosen]
    if row_tokens is None:
        groups, assemble = lay_out(lengths, budget_tokens=budget_tokens), pad
    else:
        groups, assemble = fill_rows(lengths, row_tokens=min(row_tokens, budget_tokens)), pack
    return {
        "micro_batches": [assemble([chosen[index] for index in group]) for group in groups],
        "n_trained_tokens": sum(example.n_trained_tokens for example in chosen),
        "n_tokens": sum(len(example.input_ids_L) for example in chosen),
    }


def _arguments(run: OngoingRun, *, on_gpu: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=str(run.directory.root),
        max_steps=len(run.steps_left),
        per_device_train_batch_size=1,  # one item is one step
        train_sampling_strategy="sequential",
        max_grad_norm=run.spec.method.max_grad_norm,
        seed=run.spec.seed,
        data_seed=run.spec.seed,
        use_cpu=not on_gpu,
        # On a GPU a frozen base is bfloat16 itself; weights that are all trained are float32, and computed with in it.
        bf16=run.spec.lora is None and computes_in_bfloat16(run.state.model.device.type),
        gradient_checkpointing=run.spec.memory.gradient_checkpointing,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
