"""TRL's DPOTrainer for one run; the reference's log-probabilities are those computed before the first step."""

from functools import partial
from typing import Any

from datasets import Dataset
from torch import Tensor
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from trainer.contract.spec import DpoMethod
from trainer.methods.pairs import Pairs
from trainer.methods.preference_tally import PreferenceTally
from trainer.methods.preferring import Preferring, start, step_of
from trainer.methods.stepwise import arguments, steps_left
from trainer.ongoing import OngoingRun

_REFERENCE_ADAPTER = "ref"


class StepwiseDPOTrainer(Preferring, DPOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset  # of steps, which are tokenised

    def sum_losses(self, model: Any, micro_batch: dict[str, Tensor], tally: PreferenceTally) -> Tensor:
        inputs = {name: tensor for name, tensor in micro_batch.items() if name != "token_share"}
        n_pairs = len(inputs["ref_chosen_logps"])
        loss: Tensor = DPOTrainer.compute_loss(self, model, inputs)  # type: ignore[no-untyped-call]
        tally.add({"loss": loss.item(), **self.take_metrics(model)}, n_pairs)
        return loss * n_pairs


def build(run: OngoingRun, tokenizer: Any, method: DpoMethod, pairs: Pairs) -> StepwiseDPOTrainer:
    model = run.state.model
    trainer = StepwiseDPOTrainer(
        model=model,
        args=DPOConfig(**arguments(run), beta=method.beta),
        train_dataset=steps_left(run),
        data_collator=partial(_collate, pairs=pairs),
        processing_class=tokenizer,
        optimizers=(run.state.optimizer, run.state.scheduler),
    )
    drop_reference_adapter(model)
    trainer.precompute_ref_logps = True
    start(trainer, run)
    return trainer


def drop_reference_adapter(model: Any) -> None:
    """TRL has copied the adapter as it is now; after a resume that is not the reference."""
    model.delete_adapter(_REFERENCE_ADAPTER)


def _collate(items: list[dict[str, int]], *, pairs: Pairs) -> dict[str, Any]:
    return pairs.of_step(step_of(items))
