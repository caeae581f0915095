"""TRL's ORPOTrainer, and its CPOTrainer with the loss of SimPO, for one run: preferences without a reference."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from trl.experimental.cpo.cpo_config import CPOConfig
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_config import ORPOConfig
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from trainer.contract.spec import OrpoMethod, SimpoMethod
from trainer.fused_head import give_fused_head
from trainer.methods.pairs import Pairs
from trainer.methods.preference_tally import PreferenceTally
from trainer.methods.preferring import Preferring, preference_arguments, start, step_of
from trainer.methods.stepwise import steps_left
from trainer.ongoing import OngoingRun
from trainer.scoring import IGNORED, log_probabilities


class _ReferenceFree(Preferring):
    """TRL's loss of mean log-probabilities, which are ours: its own way holds the logits of all positions."""

    learns_answers = False  # whether all tokens of the preferred answer and its prompt are learnt beside the choice

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:  # noqa: ARG002 - TRL's signature
        return feature  # a step, which is tokenised

    def sum_losses(self, model: Any, micro_batch: dict[str, Tensor], tally: PreferenceTally) -> Tensor:
        n_pairs = len(micro_batch["input_ids"]) // 2
        loss, metrics = self.get_batch_loss_metrics(model, micro_batch)  # type: ignore[attr-defined]
        means = {name: value for name, value in metrics.items() if self.learns_answers or name != "nll_loss"}
        tally.add({"loss": loss.item(), **means}, n_pairs)
        summed: Tensor = loss * n_pairs
        return summed

    def concatenated_forward(self, model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Mean log-probabilities of the answers, nothing in the place of their logits, and the loss of learning one."""
        n_pairs = len(batch["input_ids"]) // 2
        learnt = batch["completion_mask"] != 0
        if self.learns_answers:
            learnt = learnt.clone()
            learnt[:n_pairs] = batch["attention_mask"][:n_pairs] != 0
        labels = batch["input_ids"].masked_fill(~learnt, IGNORED)
        logps_BL = log_probabilities(model, {"input_ids": batch["input_ids"], "labels": labels})
        answers_BL = batch["completion_mask"][:, 1:]
        chosen, rejected = ((logps_BL * answers_BL).sum(1) / answers_BL.sum(1)).chunk(2)
        nothing = torch.zeros(1, device=logps_BL.device)
        nll = -logps_BL[:n_pairs].sum() * batch["token_share"] if self.learns_answers else nothing[0]
        return chosen, rejected, nothing, nothing, nll


class StepwiseORPOTrainer(_ReferenceFree, ORPOTrainer):  # type: ignore[misc]
    learns_answers = True


class StepwiseSimPOTrainer(_ReferenceFree, CPOTrainer):  # type: ignore[misc]
    pass


def build_orpo(run: OngoingRun, tokenizer: Any, method: OrpoMethod, pairs: Pairs) -> StepwiseORPOTrainer:
    config = ORPOConfig(**_arguments(run), beta=method.beta)
    trainer = StepwiseORPOTrainer(args=config, **_parts(run, tokenizer, pairs))
    start(trainer, run)
    return trainer


def build_simpo(run: OngoingRun, tokenizer: Any, method: SimpoMethod, pairs: Pairs) -> StepwiseSimPOTrainer:
    config = CPOConfig(**_arguments(run), loss_type="simpo", cpo_alpha=0.0, beta=method.beta, simpo_gamma=method.gamma)
    trainer = StepwiseSimPOTrainer(args=config, **_parts(run, tokenizer, pairs))
    start(trainer, run)
    return trainer


def _arguments(run: OngoingRun) -> dict[str, Any]:
    return {**preference_arguments(run), "max_length": run.spec.context_length_tokens}


def _parts(run: OngoingRun, tokenizer: Any, pairs: Pairs) -> dict[str, Any]:
    model = run.state.model
    give_fused_head(model)  # unlike its other trainers, TRL's experimental ones do not
    return {
        "model": model,
        "train_dataset": steps_left(run),
        "data_collator": partial(_collate, pairs=pairs),
        "processing_class": tokenizer,
        "optimizers": (run.state.optimizer, run.state.scheduler),
    }


def _collate(items: list[dict[str, int]], *, pairs: Pairs) -> dict[str, Any]:
    return pairs.of_step(step_of(items))
