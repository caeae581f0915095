"""A choice of examples that is damaged or lost: a run makes it again, and uses it only if it is the same."""

from trainer.check import look_through
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec, TrainingSpec
from trainer.failures import TrainerError
from trainer.selection_files import is_as_chosen
from trainer.tokenizer import ChatTokenizer


def ensure_chosen(directory: RunDirectory, spec: TrainingSpec, tokenizer: ChatTokenizer) -> None:
    """Have the examples chosen as the check chose them. Of what is whole, nothing is done again.

    Raises:
        TrainerError: the files, or what chooses among them, are not what they were: other examples would be trained on.
    """
    if spec.selection is None or is_as_chosen(directory.selection, spec.selection_sha256):
        return
    if spec.selection_sha256 is not None:
        look_through(directory, _check_spec(spec), tokenizer)
        if is_as_chosen(directory.selection, spec.selection_sha256):
            return
    raise TrainerError(
        "What was chosen of the job's examples is damaged or lost, and choosing again does not give the same. "
        "So as not to train on other examples, the job ends here. Create it again."
    )


def _check_spec(spec: TrainingSpec) -> CheckSpec:
    return CheckSpec(
        job_id=spec.job_id,
        base_model=spec.base_model,
        method=spec.method.type,
        context_length_tokens=spec.context_length_tokens,
        pii=spec.pii,
        selection=spec.selection,
    )
