"""What makes a trainer of TRL train our steps: each item of its dataset is a whole step, laid out by us.

So the step count is exactly n_epochs times ceil(examples / batch_size), the loss is that of the whole step whatever its
micro-batches are, and a resumed run simply has fewer items.
"""

import math
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import Trainer

from trainer.base_model import computes_in_bfloat16
from trainer.failures import LossNotFinite
from trainer.ongoing import OngoingRun
from trainer.tally import Tally


class Stepwise(Trainer):
    """Stands before a trainer of TRL, whose batches it makes lists of micro-batches.

    An item is a dict with `micro_batches`, `divisor`, what the sum of their losses is divided by, and `n_tokens`.
    """

    _run: OngoingRun
    _is_first_step = True

    def begin(self, run: OngoingRun) -> None:
        """To be called once, before training: TRL's constructors look at all that a trainer has."""
        self._run = run

    def new_tally(self, n_tokens: int) -> Tally:
        raise NotImplementedError

    def before_step(self, item: dict[str, Any]) -> None:
        """What a method needs of a whole step before its micro-batches."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG002 - TRL's count is of its own batches
        """Forward and backward for every micro-batch of one step."""
        if self._is_first_step:  # the data loader has drawn a number since the state was loaded
            self._run.state.restore_random_state()
            self._is_first_step = False
        tally = self.new_tally(inputs["n_tokens"])
        self._run.state.tally = tally
        self.before_step(inputs)
        losses = []
        for micro_batch in inputs["micro_batches"]:
            self._run.interruption.check()
            with self._run.meter.micro_batch(micro_batch["input_ids"].numel()):
                loss = super().training_step(model, micro_batch, inputs["divisor"])
            losses.append(loss)
        if not math.isfinite(tally.mean_loss):
            raise LossNotFinite("training loss", self._run.state.step + 1)
        return torch.stack(losses).sum()

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002 - TRL's signature
        return 0  # an estimate nobody reads


def steps_left(run: OngoingRun) -> Dataset:
    """Where only the last step's validation is left, that step stands in: TRL takes no empty dataset."""
    return Dataset.from_dict({"step": list(run.steps_left) or [run.state.step]})


def arguments(run: OngoingRun) -> dict[str, Any]:
    """Those that all of TRL's configurations share."""
    return {
        "output_dir": str(run.directory.root),
        "max_steps": max(1, len(run.steps_left)),
        "per_device_train_batch_size": 1,  # one item is one step
        "train_sampling_strategy": "sequential",
        "max_grad_norm": run.spec.method.max_grad_norm,
        "seed": run.spec.seed,
        "data_seed": run.spec.seed,
        "use_cpu": run.state.model.device.type == "cpu",
        # On a GPU a frozen base is bfloat16 itself; weights that are all trained are float32, and computed with in it.
        "bf16": run.spec.lora is None and computes_in_bfloat16(run.state.model.device.type),
        "gradient_checkpointing": run.spec.memory.gradient_checkpointing,
        "max_length": None,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
