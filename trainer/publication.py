"""Which adapters of a run clients may see, and what is told of each."""

import shutil
from pathlib import Path
from typing import Literal

from trainer.contract.events import Note
from trainer.failures import NotReproduced, is_out_of_memory
from trainer.ongoing import OngoingRun
from trainer.proving import Proof, Prover


class Publication:
    """Writes the run's result and its checkpoints in the form in which they are served."""

    def __init__(self, run: OngoingRun, prover: Prover) -> None:
        self._run = run
        self._prover = prover

    def of_result(self, directory: Path, *, step: int) -> None:
        """Fill the directory with the adapter of the run, which is of that step.

        Raises:
            NotReproduced: it would not do what was trained.
            MemoryError, RuntimeError: there is no room to find out, and it is not served as it was trained.
        """
        proof = self._prove(directory, step=step)
        if proof is None:
            self._note("warn", "No golden samples were taken, and the adapter was not compared with the trained model")
            return
        found = proof.reproduction
        if not self._run.state.is_plain:  # a plain one is published as it was trained
            self._note(
                "info",
                f"Published as a plain LoRA of rank {found.rank} and reloaded, the adapter's logits are "
                f"{found.relative_error:.2g} of its effect away from the trained model's; {found.bound:g} is allowed",
            )
        drift = proof.samples.drift
        if drift is not None:
            self._note("warn" if drift.is_large else "info", drift.describe(proof.samples.quantization))

    def of_checkpoint(self, directory: Path) -> None:
        """Fill the directory with the adapter after the step that is done, where clients may see it.

        A plain LoRA is there at every checkpoint, to go on from; only that of an epoch's end has been proven.
        """
        state = self._run.state
        if not self._is_for_clients(state.step):
            if state.is_plain:
                self._prover.write_unproven(directory, state, step=state.step)
            return
        try:
            if self._prove(directory, step=state.step) is None:
                self._note("warn", f"The checkpoint of step {state.step} was not compared with the trained model")
        except (NotReproduced, MemoryError, RuntimeError) as error:
            if not isinstance(error, NotReproduced) and not is_out_of_memory(error):
                raise
            shutil.rmtree(directory, ignore_errors=True)
            reason = str(error) if isinstance(error, NotReproduced) else "Memory does not hold the base that serves."
            self._note("warn", f"The checkpoint of step {state.step} is not published. {reason}")

    def _is_for_clients(self, step: int) -> bool:
        """The end of every epoch but the last, which is the run's result, unless that may be an earlier one."""
        epoch, method = self._run.order.epoch_ended_by(step), self._run.spec.method
        return epoch is not None and (epoch < method.n_epochs or method.early_stopping_patience is not None)

    def _prove(self, directory: Path, *, step: int) -> Proof | None:
        """None where memory does not hold a fresh base, and the adapter is served as it was trained."""
        state = self._run.state
        try:
            return self._prover.publish(directory, state, step=step)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not state.is_plain:
                raise
            self._prover.write_unproven(directory, state, step=step)
            return None

    def _note(self, level: Literal["info", "warn"], message: str) -> None:
        self._run.reporter.report(Note, level=level, message=message)
