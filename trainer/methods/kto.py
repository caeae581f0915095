"""TRL's KTOTrainer for one run, with the distance from the reference estimated over the whole step."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from trainer.contract.spec import KtoMethod
from trainer.methods.answers import Answers
from trainer.methods.preference_tally import PreferenceTally
from trainer.methods.preferring import step_of
from trainer.methods.referring import Referring, referring_arguments, start_referring
from trainer.methods.stepwise import steps_left
from trainer.ongoing import OngoingRun
from trainer.scoring import log_probabilities

_OF_A_KIND = ("rewards/chosen", "logps/chosen", "rewards/rejected", "logps/rejected")  # means over one kind of answer


class _Listening:
    """Calls a model, and keeps what it answered."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.outputs: Any = None

    def __call__(self, **arguments: Any) -> Any:
        self.outputs = self._model(**arguments)
        return self.outputs


class StepwiseKTOTrainer(Referring, KTOTrainer):
    _distance: Tensor  # of the model from its reference, in nats; below 0 where the estimate is

    def before_step(self, item: dict[str, Any]) -> None:
        """Estimate the distance, without dropout. Of one example alone there is nothing to estimate it on."""
        self._run.state.model.eval()
        device = self._run.state.model.device
        self._distance = torch.zeros((), device=device)
        if item["divisor"] < 2:
            return
        for micro_batch in item["mismatched"]:
            self._run.interruption.check()
            with torch.no_grad():
                moved = {name: tensor.to(device) for name, tensor in micro_batch.items()}
                self._distance += log_probabilities(self.model, moved).sum()
        self._distance = (self._distance - item["mismatched_reference"]) / item["divisor"]

    def _compute_kl_logps(self, model: Any, batch: Any) -> Tensor:  # noqa: ARG002 - TRL's signature
        return self._distance

    def sum_losses(self, model: Any, micro_batch: dict[str, Tensor], tally: PreferenceTally) -> Tensor:
        listening = _Listening(model)
        loss: Tensor = KTOTrainer.compute_loss(self, listening, micro_batch)  # type: ignore[no-untyped-call]
        is_good, means = micro_batch["label"], self.take_metrics(model)
        rewards = self.beta * (listening.outputs.log_probs.detach().sum(-1) - micro_batch["ref_logps"])
        is_right = torch.where(is_good, rewards > 0, rewards < 0)
        n_good, n_answers = int(is_good.sum()), len(is_good)
        tally.add({name: means[name] for name in _OF_A_KIND[:2] if name in means}, n_good)
        tally.add({name: means[name] for name in _OF_A_KIND[2:] if name in means}, n_answers - n_good)
        of_all = {"loss": loss.item(), "kl": means["kl"], "rewards/accuracies": is_right.float().mean().item()}
        tally.add(of_all, n_answers)
        return loss * n_answers


def build(run: OngoingRun, tokenizer: Any, method: KtoMethod, answers: Answers) -> StepwiseKTOTrainer:
    config = KTOConfig(
        **referring_arguments(run),
        beta=method.beta,
        desirable_weight=method.desirable_weight,
        undesirable_weight=method.undesirable_weight,
        loss_type="apo_zero_unpaired",  # until it is built: with KTO's own, TRL refuses items of one
    )
    trainer = StepwiseKTOTrainer(
        model=run.state.model,
        args=config,
        train_dataset=steps_left(run),
        data_collator=partial(_collate, answers=answers),
        processing_class=tokenizer,
        optimizers=(run.state.optimizer, run.state.scheduler),
    )
    trainer.loss_type, trainer.calculate_KL = "kto", True
    start_referring(trainer, run)
    return trainer


def _collate(items: list[dict[str, int]], *, answers: Answers) -> dict[str, Any]:
    return answers.of_step(step_of(items))
