"""TRL's DPOTrainer for one run; the reference's log-probabilities are those computed before the first step."""

from functools import partial
from typing import Any

from torch import Tensor
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from trainer.contract.spec import DpoMethod
from trainer.methods.pairs import Pairs
from trainer.methods.preference_tally import PreferenceTally
from trainer.methods.preferring import step_of
from trainer.methods.referring import Referring, referring_arguments, start_referring
from trainer.methods.stepwise import steps_left
from trainer.ongoing import OngoingRun


class StepwiseDPOTrainer(Referring, DPOTrainer):
    def sum_losses(self, model: Any, micro_batch: dict[str, Tensor], tally: PreferenceTally) -> Tensor:
        inputs = {name: tensor for name, tensor in micro_batch.items() if name != "token_share"}
        n_pairs = len(inputs["ref_chosen_logps"])
        loss: Tensor = DPOTrainer.compute_loss(self, model, inputs)  # type: ignore[no-untyped-call]
        tally.add({"loss": loss.item(), **self.take_metrics(model)}, n_pairs)
        return loss * n_pairs


def build(run: OngoingRun, tokenizer: Any, method: DpoMethod, pairs: Pairs) -> StepwiseDPOTrainer:
    trainer = StepwiseDPOTrainer(
        model=run.state.model,
        args=DPOConfig(**referring_arguments(run), beta=method.beta),
        train_dataset=steps_left(run),
        data_collator=partial(_collate, pairs=pairs),
        processing_class=tokenizer,
        optimizers=(run.state.optimizer, run.state.scheduler),
    )
    start_referring(trainer, run)
    return trainer


def _collate(items: list[dict[str, int]], *, pairs: Pairs) -> dict[str, Any]:
    return pairs.of_step(step_of(items))
