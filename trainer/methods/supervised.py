"""TRL's SFTTrainer for one run, with a loss that is a mean over the trained tokens of a step."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from trainer.dataset import TokenizedExample
from trainer.layout import ROW_TOKENS, fill_rows, lay_out, lay_out_long
from trainer.methods.stepwise import Stepwise, arguments, steps_left
from trainer.ongoing import OngoingRun
from trainer.order import StepOrder
from trainer.scoring import TokenTally, pack, pad, score


class StepwiseSFTTrainer(Stepwise, SFTTrainer):
    """The loss is weighted by tokens over all micro-batches of a step."""

    def new_tally(self, n_tokens: int) -> TokenTally:
        return TokenTally(n_processed_tokens=n_tokens)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The part of this micro-batch in the mean loss of the step."""
        tally = self._run.state.tally
        if return_outputs or not isinstance(tally, TokenTally):
            raise NotImplementedError("only the loss of a step is computed")
        scores = score(model, inputs)
        tally.add(scores)
        share: Tensor = scores.loss_sum / num_items_in_batch
        return share


def build(run: OngoingRun, tokenizer: Any, examples: Sequence[TokenizedExample]) -> StepwiseSFTTrainer:
    """Set up TRL to train the steps that are left."""
    trainer = StepwiseSFTTrainer(
        model=run.state.model,
        args=SFTConfig(**arguments(run), dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=steps_left(run),
        data_collator=partial(
            collate,
            examples=examples,
            order=run.order,
            budget_tokens=run.spec.memory.micro_batch_tokens,
            row_tokens=ROW_TOKENS[run.state.model.device.type] if run.packs else None,
        ),
        processing_class=tokenizer,
        optimizers=(run.state.optimizer, run.state.scheduler),
    )
    trainer.begin(run)
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
        "divisor": sum(example.n_trained_tokens for example in chosen),
        "n_tokens": sum(len(example.input_ids_L) for example in chosen),
    }


def measure(run: OngoingRun, examples: Sequence[TokenizedExample]) -> TokenTally:
    """Loss and accuracy of the model as it is, weighted by tokens: the same however the examples are batched."""
    model, tally = run.state.model, TokenTally()
    lengths = [len(example.input_ids_L) for example in examples]
    budget_tokens = run.spec.memory.micro_batch_tokens
    row_tokens = min(ROW_TOKENS[model.device.type], budget_tokens) if run.packs else None
    for group in lay_out_long(lengths, budget_tokens=budget_tokens, row_tokens=row_tokens):
        run.interruption.check()
        chosen = [examples[index] for index in group]
        micro_batch = pad(chosen) if row_tokens is None else pack(chosen)
        tally.add(score(model, {name: tensor.to(model.device) for name, tensor in micro_batch.items()}))
    return tally
