"""`python -m trainer check`: how do these files tokenise, and how large is the base model? No torch, no weights."""

from trainer.base_model import count_parameters
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec
from trainer.dataset import tokenize_files
from trainer.tokenizer import load_chat_tokenizer


def check(run_directory: RunDirectory, spec: CheckSpec) -> CheckReport:
    """Answer for one run directory.

    Raises:
        TrainerError: a file or the base model cannot be used.
    """
    tokenizer = load_chat_tokenizer(spec.base_model)
    n_parameters = count_parameters(spec.base_model)
    training, validation = tokenize_files(run_directory, tokenizer, context_length_tokens=spec.context_length_tokens)
    return CheckReport(
        training=training.report(),
        validation=validation.report() if validation else None,
        base_parameters=n_parameters,
    )
