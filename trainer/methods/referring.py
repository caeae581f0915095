"""What the trainers that have a reference share: its log-probabilities come with each step, and TRL computes none.

An adapter's trainer copies the adapter to have a reference, and one of all weights would load a second model.
"""

from typing import Any

from datasets import Dataset

from trainer.methods.preferring import Preferring, preference_arguments, start
from trainer.ongoing import OngoingRun
from trainer.weights import is_adapter

_COPIED_ADAPTER = "ref"


class Referring(Preferring):
    precompute_ref_logps: bool  # TRL's: whether it reads them from the batch

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset  # of steps, which are tokenised

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # of steps, whose reference was computed before the first of them


def referring_arguments(run: OngoingRun) -> dict[str, Any]:
    """Without a second model: TRL is told that it has computed the reference with this one."""
    return {**preference_arguments(run), "precompute_ref_log_probs": not is_adapter(run.state.model)}


def start_referring(trainer: Referring, run: OngoingRun) -> None:
    """What follows the constructors of TRL. What they copied is of the weights as they are: after a resume, trained."""
    trainer.precompute_ref_logps = True
    if is_adapter(run.state.model):
        run.state.model.delete_adapter(_COPIED_ADAPTER)
    start(trainer, run)
